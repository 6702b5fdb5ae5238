"""The style sheet of report.html: calm, readable on a phone and on paper, light and dark."""

STYLE = """
:root{color-scheme:light dark;
--paper:#fbfaf8;--card:#ffffff;--ink:#1b242d;--faint:#5d6975;--line:#e2e1dc;--accent:#0b6b78;--wash:#eef4f4;--shade:#1b242d26;
--series-0:#0f7c8a;--series-1:#8a6d1f;--series-2:#c4552d;--series-3:#7d8791;--series-4:#6a4fa3;
--series-5:#3d7a3f}
@media (prefers-color-scheme:dark){:root{
--paper:#14181c;--card:#1a2026;--ink:#e6eaed;--faint:#98a4af;--line:#2e363e;--accent:#67c3cf;--wash:#1b2a2e;--shade:#00000080;
--series-0:#56bccb;--series-1:#d9b65a;--series-2:#ee8d68;--series-3:#93a0ab;--series-4:#b09be0;
--series-5:#86c489}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
font:400 1.0625rem/1.62 Inter,"Segoe UI Variable Text","Segoe UI",system-ui,-apple-system,Roboto,
"Helvetica Neue",sans-serif;
font-feature-settings:"cv05","ss03";font-variant-numeric:tabular-nums;-webkit-font-smoothing:antialiased}
main,header,footer{max-width:60rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:clamp(2rem,6vw,4.5rem)}
.kind{margin:0;color:var(--accent);font-size:.8125rem;font-weight:600;letter-spacing:.08em;
text-transform:uppercase}
h1{margin:.35rem 0 0;font-size:clamp(1.85rem,5.4vw,2.9rem);line-height:1.12;font-weight:660;
letter-spacing:-.025em;
text-wrap:balance;overflow-wrap:anywhere}
h2{margin:0 0 .35rem;font-size:1.4rem;line-height:1.25;font-weight:640;letter-spacing:-.015em;
text-wrap:balance}
h3{margin:1.8rem 0 .3rem;font-size:1.0625rem;font-weight:640}
p{margin:.55rem 0;max-width:42rem;text-wrap:pretty}
.facts{margin:.7rem 0 0;color:var(--faint);font-size:.9375rem}
.summary{margin:1.7rem 0 0}
.summary p{font-size:clamp(1.0625rem,2.3vw,1.1875rem);line-height:1.6;margin:.8rem 0;max-width:46rem}
.note,figcaption,caption{color:var(--faint);font-size:.9063rem;line-height:1.5}
section{margin:clamp(2.6rem,6vw,4rem) 0 0;padding-top:1.6rem;border-top:1px solid var(--line);
scroll-margin-top:1rem}
nav{margin:1.7rem 0 0}
nav ul{display:flex;flex-wrap:wrap;gap:.35rem 1.15rem;margin:0;padding:0;list-style:none;font-size:.9375rem}
a{color:var(--accent);text-decoration:none;border-bottom:1px solid color-mix(in srgb,currentColor 30%,
transparent)}
a:hover{border-bottom-color:currentColor}
a:focus-visible,summary:focus-visible,.scroll:focus-visible,video:focus-visible{
outline:2px solid var(--accent);outline-offset:3px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11.5rem,1fr));gap:.9rem;margin:2rem 0 0;
padding:0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:.7rem;
padding:.95rem 1.1rem 1rem;
display:flex;flex-direction:column}
.tiles dt{color:var(--faint);font-size:.875rem;line-height:1.35}
.tiles dd{margin:0}
.tiles .big{order:-1;font-size:1.9rem;line-height:1.2;font-weight:640;letter-spacing:-.02em;
margin-bottom:.15rem}
.tiles .small{color:var(--faint);font-size:.8125rem;line-height:1.45;margin-top:.2rem}
figure{margin:1.3rem 0 0;min-width:0}
figure svg{display:block;width:100%;height:auto;max-width:29rem;overflow:visible}
svg text{font-family:inherit}
figcaption{margin-top:.6rem;max-width:40rem}
@media (min-width:56rem){figure.drawn{display:grid;grid-template-columns:29rem 1fr;gap:2rem;align-items:end}
figure.drawn figcaption{margin:0 0 1.2rem}}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:.4rem 2.2rem;
align-items:start}
video{display:block;width:100%;max-width:40rem;height:auto;border-radius:.6rem;
border:1px solid var(--line);background:#fff}
.scroll{overflow-x:auto;margin:1.2rem 0 0;
background:linear-gradient(to right,var(--paper) 30%,transparent) 0 0/2.5rem 100% local no-repeat,
linear-gradient(to left,var(--paper) 30%,transparent) 100% 0/2.5rem 100% local no-repeat,
linear-gradient(to right,var(--shade),transparent) 0 0/.8rem 100% scroll no-repeat,
linear-gradient(to left,var(--shade),transparent) 100% 0/.8rem 100% scroll no-repeat}
table{border-collapse:collapse;width:100%;font-size:.9375rem;line-height:1.4}
table:has(th:nth-child(2):last-child){max-width:38rem}
caption{position:sticky;left:0;text-align:left;padding:0 0 .7rem;max-width:min(42rem,calc(100vw - 2.2rem))}
th,td{padding:.55rem 0 .55rem 1.2rem;text-align:right;vertical-align:baseline;white-space:nowrap}
th:first-child,td:first-child{padding-left:0;text-align:left}
th[scope=row]{font-weight:500;white-space:normal;min-width:6.5rem}
thead th{color:var(--faint);font-weight:500;font-size:.875rem;border-bottom:1px solid var(--line);
padding-top:0}
tbody tr+tr th,tbody tr+tr td{border-top:1px solid var(--line)}
tbody tr.ours th,tbody tr.ours td{background:var(--wash)}
tbody tr.ours th{font-weight:640;box-shadow:-.7rem 0 0 var(--wash)}
tbody tr.ours td:last-child{box-shadow:.7rem 0 0 var(--wash)}
.range{color:var(--faint);font-size:.8438rem;font-weight:400;margin-left:.3rem}
.words{margin:.9rem 0 0;padding:.75rem 1.1rem;background:var(--wash);border-left:3px solid var(--accent);
border-radius:0 .5rem .5rem 0;
max-width:42rem}
.words p{margin:.1rem 0}
dl.made{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.4rem;margin:1rem 0 0;
font-size:.9375rem}
dl.made dt{color:var(--faint)}
dl.made dd{margin:0;overflow-wrap:anywhere}
code,pre{font-family:ui-monospace,"Cascadia Code","SF Mono",Menlo,Consolas,monospace;font-size:.875em}
pre{margin:.7rem 0 0;padding:1rem 1.1rem;background:var(--card);border:1px solid var(--line);
border-radius:.6rem;
overflow-x:auto;line-height:1.5;font-size:.8438rem}
details{margin:1.1rem 0 0}
summary{cursor:pointer;color:var(--accent)}
ul.absent{margin:.8rem 0 0;padding:0;list-style:none;max-width:46rem}
ul.absent li{padding:.5rem 0;border-top:1px solid var(--line)}
ul.absent li:first-child{border-top:0}
footer{margin-top:4rem;padding-top:1.3rem;padding-bottom:3rem;color:var(--faint);font-size:.875rem;
border-top:1px solid var(--line)}
@media (max-width:34rem){
body{font-size:1rem}
main,header,footer{padding-left:1.1rem;padding-right:1.1rem}
.tiles{grid-template-columns:1fr 1fr;gap:.6rem}
.tiles div{padding:.75rem .8rem}
.tiles .big{font-size:1.5rem}
dl.made{grid-template-columns:1fr;gap:0}
dl.made dd{margin-bottom:.6rem}
th,td{padding-left:.9rem}
.range{display:block;margin-left:0}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{
:root{--paper:#fff;--card:#fff;--ink:#000;--faint:#444;--line:#bbb;--accent:#064e57;--wash:#f0f4f4;
--series-0:#0f7c8a;--series-1:#8a6d1f;--series-2:#c4552d;--series-3:#7d8791;--series-4:#6a4fa3;
--series-5:#3d7a3f}
html{font-size:9.5pt}
nav{display:none}
video::-webkit-media-controls{display:none!important}
main,header,footer{max-width:none;padding:0}
section{break-inside:auto;margin-top:1.6rem}
h2,h3,h2+p,caption{break-after:avoid}
figure,tr,.tiles div,table:not(:has(tbody tr:nth-child(12))){break-inside:avoid}
.scroll{overflow:visible}
pre{white-space:pre-wrap}
a{color:inherit;border:0}}
""".strip()
