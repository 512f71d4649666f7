"use strict";
// Asks every two seconds and draws the last five minutes. What it is told goes into the page as text, never as markup.
const EVERY_MS = 2000;
const KEEP = 150;
const plots = [
  { name: "peers", of: (s) => s.peers },
  { name: "sessions", of: (s) => s.sessions },
  { name: "legs", of: (s) => s.counters.legs },
  { name: "Mbit/s relayed", of: (s, b, t) => ((s.counters.relayed_bytes - b.counters.relayed_bytes) * 8) / 1e6 / t },
  { name: "drops/s", of: (s, b, t) => (s.counters.dropped + s.counters.policed - b.counters.dropped - b.counters.policed) / t },
  { name: "refused/s", of: (s, b, t) => (s.counters.connections_refused - b.counters.connections_refused) / t },
];
let before = null;
let beforeAt = 0;

function element(name, parent, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function build() {
  const space = "http://www.w3.org/2000/svg";
  for (const plot of plots) {
    const figure = element("figure", document.getElementById("plots"));
    const caption = element("figcaption", figure);
    element("span", caption, plot.name);
    plot.value = element("b", caption, "–");
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 " + (KEEP - 1) + " 40");
    svg.setAttribute("preserveAspectRatio", "none");
    plot.line = document.createElementNS(space, "polyline");
    svg.append(plot.line);
    figure.append(svg);
    plot.values = [];
  }
}

function draw(plot, value) {
  plot.values.push(value);
  if (plot.values.length > KEEP) plot.values.shift();
  plot.value.textContent = Number.isInteger(value) ? value : value.toFixed(1);
  const most = Math.max(1, ...plot.values);
  const from = KEEP - plot.values.length;
  plot.line.setAttribute("points", plot.values.map((v, i) => from + i + "," + (39 - (v / most) * 38)).join(" "));
}

function row(key) {
  const cells = [key.name, key.peers, key.sessions, key.codes,
    ((key.relay_bytes_per_second * 8) / 1e6).toFixed(1) + " Mbit/s",
    (key.relay_bytes_month / 2 ** 30).toFixed(2) + " GiB"];
  const made = document.createElement("tr");
  for (const cell of cells) element("td", made, cell);
  return made;
}

// What is said of the nodes, and whether the store is away; nothing where this is the one host.
function ofNodes(cluster) {
  if (!cluster) return ["", false];
  const living = cluster.nodes.filter((node) => node.lives).length;
  const draining = cluster.nodes.filter((node) => node.lives && node.drains).length;
  const drains = draining ? ", " + draining + " of these drain" : "";
  const store = cluster.store;
  if (store && store.answers) return [", node " + cluster.own + ", " + living + " of " + cluster.nodes.length + " live" + drains, false];
  const why = store ? ", the store is AWAY: " + store.why : ", no store";
  return [", node " + cluster.own + " of " + cluster.nodes.length + why, Boolean(store)];
}

function say(text, bad) {
  const state = document.getElementById("state");
  state.textContent = text;
  state.className = bad ? "bad" : "";
}

async function ask() {
  try {
    const answer = await fetch("status.json");
    if (!answer.ok) throw new Error(await answer.text());
    const status = await answer.json();
    const at = performance.now();
    const seconds = Math.max(0.001, (at - beforeAt) / 1000);
    for (const plot of plots) draw(plot, before ? plot.of(status, before, seconds) : plot.of(status, status, 1));
    before = status;
    beforeAt = at;
    document.getElementById("keys").replaceChildren(...status.keys.map(row));
    const up = Math.floor(status.uptime_s / 60);
    const [nodes, alone] = ofNodes(status.cluster);
    say(
      "version " + status.version + ", " + (status.healthy ? "well" : "STUCK") + ", up " + up + " min" + nodes,
      !status.healthy || alone,
    );
  } catch (error) {
    say("no answer: " + error.message, true);
  }
  setTimeout(ask, EVERY_MS);
}

build();
ask();
