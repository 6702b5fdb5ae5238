"use strict";
// Follows a run: asks for what is new twice a second, and adds it to the curves.
const INTERVAL = 500;  // [ms]
const GROUPS = [
  ["Return", name => /(ep_rew_mean|\/return|episode_return)/.test(name), true],
  ["Success and goals", name => /success|reached/.test(name), true],
  ["World model", name => name.startsWith("world_model/"), true],
  ["Diagnostics of the world model", name => name.startsWith("diagnostics/"), true],
  ["Goal heads", name => name.startsWith("goal_heads/"), false],
  ["Agent", name => name.includes("agent/"), false],
  ["Exploration", name => name.startsWith("explore/"), false],
  ["Speed and memory", name => name.startsWith("time/") || name.startsWith("memory/"), false],
  ["Other", () => true, false],
];
const HUMAN = {
  "agent/rollout/ep_rew_mean": "return while learning",
  "agent/rollout/ep_len_mean": "episode length while learning",
  "agent/rollout/success_rate": "success while learning",
  "time/steps_per_second": "environment steps per second",
  "time/updates_per_second": "gradient steps per second",
  "memory/rss_mib": "memory [MiB]",
  "world_model/updates": "gradient steps",
  "world_model/loss": "total loss",
  "world_model/forward": "prediction loss",
  "explore/return_mean": "return of exploration",
  "agent/return_mean": "return in recorded episodes",
  "agent/success_mean": "success in recorded episodes",
  "diagnostics/inverse_r2": "inverse dynamics R²",
  "diagnostics/inverse_r2_from_z": "R² of actions from one latent",
  "diagnostics/inverse_excess_r2": "inverse R² beyond one latent",
  "diagnostics/latent_std_mean": "latent standard deviation, mean",
  "diagnostics/latent_std_min": "latent standard deviation, smallest",
  "diagnostics/forward_error": "prediction error",
  "diagnostics/shuffled_actions_error": "error with shuffled actions",
  "diagnostics/no_change_error": "error if nothing changed",
};
const LOSSES = "world_model/";  // drawn over gradient steps, because the world model is trained between env steps
const byId = id => document.getElementById(id);
const data = {}, charts = {}, dirty = new Set(), groups = {};
let cursor = "", videos = "", steps = 0;

function human(name) {
  if (HUMAN[name]) return HUMAN[name];
  const parts = name.split("/");
  const skill = /^forward_skill_(\d+)$/.exec(parts[1] || "");
  if (skill) return `skill ${skill[1]} step${skill[1] === "1" ? "" : "s"} ahead, shuffled actions`;
  const heldout = /^evaluation\/(\w+)\/(return_mean|success_rate)$/.exec(name);
  if (heldout) return `held-out ${heldout[2].split("_")[0]}, ${rowName(heldout[1])}`;
  const inside = ["world_model", "diagnostics", "time", "memory", "goal_heads"].includes(parts[0]);
  const text = parts.slice(inside ? 1 : 0).filter(part => part !== "rollout").join(", ").replaceAll("_", " ");
  return text.replace("ep rew mean", "return while learning").replace("ep len mean", "episode length")
    .replace("observation agent", "observation only").replace("return mean", "return in recorded episodes")
    + (parts[0] === "world_model" ? " loss" : "");
}

// Name of a row of the control table, as on the page of the report.
function rowName(row) {
  return {observation: "observation only", latent: "latent only", latent_observation: "latent + observation"}[row] || row.replaceAll("_", " ");
}

// Name of the curve that a chart also shows: skill with shuffled actions beside the skill of the model.
function companion(name) {
  return name.startsWith("diagnostics/forward_skill_") ? name.replace("forward_skill", "shuffled_skill") : null;
}

function groupOf(name) {
  const [title, , open] = GROUPS.find(([, test]) => test(name));
  if (!groups[title]) {
    const details = document.createElement("details");
    details.open = open;
    const summary = document.createElement("summary");
    summary.textContent = title;
    const area = document.createElement("div");
    area.className = "charts";
    details.append(summary, area);
    groups[title] = {details, area, order: GROUPS.findIndex(g => g[0] === title)};
    const later = Object.values(groups).filter(g => g.order > groups[title].order).sort((a, b) => a.order - b.order)[0];
    byId("groups").insertBefore(details, later ? later.details : null);
  }
  return groups[title].area;
}

function add(records) {
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) {
      if (name === "step" || typeof value !== "number") continue;
      const series = data[name] ??= {xs: [], ys: []};
      const updates = record[LOSSES + "updates"];
      series.xs.push(name.startsWith(LOSSES) && updates !== undefined ? updates : record.step);
      series.ys.push(value);
      dirty.add(name);
    }
  }
}

function draw() {
  for (const name of dirty) {
    if (name.startsWith("diagnostics/shuffled_skill_") || name === LOSSES + "updates") continue;
    if (!charts[name]) {
      charts[name] = new Chart(human(name), name.startsWith(LOSSES) ? {xlabel: "gradient steps"} : {});
      groupOf(name).append(charts[name].figure);
    }
    const other = companion(name);
    charts[name].setSeries(data[other] ? {[name]: data[name], [other]: data[other]} : {[name]: data[name]});
  }
  dirty.clear();
}

function last(...names) {
  const name = names.find(n => data[n] && data[n].ys.length);
  return name ? data[name].ys[data[name].ys.length - 1] : null;
}

function tiles(answer) {
  for (const record of answer.records) steps = Math.max(steps, record.step || 0);
  const entries = {
    "environment steps": steps.toLocaleString("en"),
    "return while learning": short(last("agent/rollout/ep_rew_mean")),
    "prediction error (loss)": short(last("world_model/forward")),
    "effective rank of the latent": short(last("diagnostics/effective_rank")),
    "steps per second": short(last("time/steps_per_second")),
  };
  const rows = Object.entries(entries).filter(([, value]) => value !== "-").map(([name, value]) => {
    const box = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    box.append(dt, dd);
    return box;
  });
  byId("tiles").replaceChildren(...rows);
  const bar = byId("progress");
  bar.hidden = !(answer.total && steps);
  if (!bar.hidden) { bar.max = answer.total; bar.value = Math.min(steps, answer.total); }
}

function head(answer) {
  document.title = `${answer.title} - robossl watch`;
  byId("title").textContent = answer.title;
  byId("folder").textContent = `${answer.folder}${answer.seed === null ? "" : `, seed ${answer.seed}`}`;
  byId("state").textContent = answer.state;
  byId("state").className = `state ${answer.state}`;
  const ago = answer.age < 90 ? `${Math.round(answer.age)} s` : `${Math.round(answer.age / 60)} min`;
  byId("age").textContent = answer.state === "running" ? "" : `last change ${ago} ago`;
  if (answer.log.length) {
    const area = byId("log"), atEnd = area.scrollTop + area.clientHeight >= area.scrollHeight - 8;
    const text = answer.log.join("\n");
    if (area.textContent !== text) {
      area.textContent = text;
      if (atEnd) area.scrollTop = area.scrollHeight;
    }
    byId("status").textContent = answer.state === "running" ? answer.log[answer.log.length - 1].slice(10) : "";
  }
}

function showVideos(list) {
  const key = JSON.stringify(list);
  if (key === videos) return;
  videos = key;
  byId("video-area").hidden = !list.length;
  byId("no-video").hidden = list.length > 0;
  byId("video-names").replaceChildren(...list.map(video => new Option(video.name.replace(".mp4", "").replaceAll("_", " "), video.name)));
  if (list.length) play(list[0]);
}

function play(video) {
  byId("video").src = `video?name=${encodeURIComponent(video.name)}&changed=${video.changed}`;
}

byId("video-names").addEventListener("change", event => play(JSON.parse(videos).find(v => v.name === event.target.value)));

async function poll() {
  let wait = INTERVAL;
  try {
    const reply = await fetch(`data?cursor=${encodeURIComponent(cursor)}`);
    if (!reply.ok) throw new Error((await reply.json()).error || reply.statusText);
    const answer = await reply.json();
    if (answer.reset) { steps = 0; for (const name of Object.keys(data)) delete data[name]; }
    cursor = answer.cursor;
    add(answer.records);
    head(answer);
    tiles(answer);
    if (!document.hidden) draw();
    showVideos(answer.videos);
    byId("error").textContent = "";
    document.body.dataset.records = Object.values(data).reduce((n, s) => n + s.xs.length, 0);
    if (answer.more) wait = 0;
  } catch (error) {
    byId("error").textContent = `The page is not up to date: ${error.message}. Is robossl watch still running?`;
    wait = 2000;
  }
  setTimeout(poll, wait);
}

poll();
