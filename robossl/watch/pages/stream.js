"use strict";
// Shows one episode of a stream: its video, and curves whose line follows the time of the video.
const TITLES = {
  reward: "Reward", action: "Action", state: "Physical state (privileged)", info: "Infos",
  observation: "Observation", flag: "Flags",
};
const byId = id => document.getElementById(id);
let stream = null, charts = [];

async function get(address) {
  const reply = await fetch(address);
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error || reply.statusText);
  return answer;
}

function human(name) {
  return name.replace(/^(state|info|observation)\./, "").replaceAll("_", " ").replaceAll(".", ", ");
}

function draw(answer) {
  charts = [];
  const areas = {};
  byId("groups").replaceChildren();
  for (const curve of answer.curves) {
    if (!areas[curve.role]) {
      const details = document.createElement("details");
      details.open = true;
      const summary = document.createElement("summary");
      summary.textContent = TITLES[curve.role] || curve.role;
      areas[curve.role] = document.createElement("div");
      areas[curve.role].className = "charts";
      details.append(summary, areas[curve.role]);
      byId("groups").append(details);
    }
    const chart = new Chart(human(curve.name), {unit: curve.unit, xlabel: "s", onpick: seek});
    chart.setSeries({[curve.name]: {xs: curve.values.map((_, i) => i * stream.seconds), ys: curve.values}});
    areas[curve.role].append(chart.figure);
    charts.push(chart);
  }
}

function seek(seconds) {
  const video = byId("video");
  if (!video.hidden) { video.pause(); video.currentTime = seconds; }
  for (const chart of charts) chart.setCursor(seconds);
}

function follow() {
  const video = byId("video");
  if (!video.hidden && Number.isFinite(video.duration))
    for (const chart of charts) chart.setCursor(video.currentTime);
  requestAnimationFrame(follow);
}

async function show() {
  const ordinal = byId("episodes").value, episode = stream.episodes.find(e => String(e.ordinal) === ordinal);
  const video = byId("video");
  video.hidden = true;
  video.removeAttribute("src");
  byId("waiting").hidden = false;
  byId("waiting").textContent = "The video is being rendered.";
  byId("error").textContent = "";
  try {
    const answer = await get(`episode?ordinal=${ordinal}`);
    const left = answer.left_out ? `, ${answer.left_out} more curves are not shown` : "";
    byId("facts").textContent = `lane ${episode.lane}, ${episode.steps} steps, ${(episode.steps * stream.seconds).toFixed(1)} s, `
      + `return ${short(answer.return)}${episode.ended ? "" : ", not ended"}${left}`;
    draw(answer);
    const reply = await fetch(`video?ordinal=${ordinal}`);
    if (byId("episodes").value !== ordinal) return;
    if (!reply.ok) {
      byId("waiting").textContent = (await reply.json()).error;
      return;
    }
    video.src = `video?ordinal=${ordinal}`;
    video.hidden = false;
    byId("waiting").hidden = true;
  } catch (error) {
    byId("error").textContent = error.message;
  }
}

function move(offset) {
  const select = byId("episodes");
  select.selectedIndex = Math.min(Math.max(select.selectedIndex + offset, 0), select.options.length - 1);
  show();
}

byId("episodes").addEventListener("change", show);
byId("previous").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));

async function start() {
  try {
    stream = await get("episodes");
    document.title = `${stream.title} - robossl stream view`;
    byId("title").textContent = stream.title;
    byId("text").textContent = `${stream.text}, ${stream.folder}`;
    byId("episodes").replaceChildren(...stream.episodes.map(e => new Option(`${e.ordinal}`, e.ordinal)));
    await show();
    follow();
  } catch (error) {
    byId("error").textContent = error.message;
  }
}

start();
