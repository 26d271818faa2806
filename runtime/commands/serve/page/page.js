"use strict";
// The page of edgesmith serve. What comes from the server or a bundle is set as text, never as markup.

const at = (id) => document.getElementById(id);
const made = (tag, text = "", more = {}) => Object.assign(document.createElement(tag), { textContent: text }, more);
const SHARES = new Set(["probability", "share", "score"]); // 0 to 1, shown as bars
const CAMERA_MS = 100; // between an answer and the next frame
const HEALTH_MS = 5000;
const NAMES = {
  score: "Least score, 0 to 1", iou: "Overlap above which the weaker box goes, 0 to 1", max_detections: "Boxes at most",
  agnostic_nms: "A better box drops what it overlaps, whatever the classes", top: "How many to show", zoom: "Look again, so many times as large",
};

let token = ""; // lives as long as the page
let models = [];
let last = null; // the picture that was asked about last
let asked = 0; // a later question makes an earlier answer old
let stream = null;

const chosen = () => models.find((model) => model.name === at("model").value);

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) {
    at("secret").hidden = false;
    at("why-token").textContent = token ? "The server does not know this token." : "This server answers to those who have its token.";
    if (!token) at("token").focus();
  }
  const told = await response.json();
  if (!response.ok && !(path === "/health")) {
    const error = told.error ?? {};
    const lines = typeof error === "string" ? [error] : ["what", "found", "expected", "because", "try"].map((key) => error[key]).filter(Boolean);
    throw new Error(lines.join("\n") || `The server said ${response.status}.`);
  }
  return told;
}

async function health() {
  try {
    const told = await ask("/health");
    if (!told.models) return;
    const mine = told.models.find((model) => model.name === at("model").value);
    const parts = [`Server ${told.state}`];
    if (mine) {
      parts.push(`${mine.name} on ${mine.backend ?? "no engine yet"}: ${mine.answered} answered, ${mine.refused} refused, ${mine.waiting} waiting`);
      if (mine.p50_ms !== null) parts.push(`median ${mine.p50_ms.toFixed(1)} ms, 99 % within ${mine.p99_ms.toFixed(1)} ms`);
      if (mine.degraded) parts.push(`trouble: ${mine.degraded}`);
    }
    const text = parts.join("; ") + ".";
    if (at("health").textContent !== text) at("health").textContent = text;
    if (told.state === "loading" || !models.length) return;
    if (models.some((model) => !model.ready)) await list();
  } catch {
    at("health").textContent = "The server does not answer.";
  }
}

async function list() {
  const before = at("model").value;
  models = (await ask("/v1/models")).models;
  at("secret").hidden = true;
  at("model").replaceChildren(...models.map((model) => made("option", model.name, { value: model.name })));
  if (models.some((model) => model.name === before)) at("model").value = before;
  choose();
}

function choose() {
  const model = chosen();
  if (!model) return;
  at("about").textContent = `${model.task}, ${model.precision}, for ${model.target}${model.ready ? "" : ", not ready yet"}`;
  at("asking").hidden = !model.asks;
  at("look").hidden = !model.pictures;
  at("arrays").hidden = model.pictures;
  if (!model.pictures) {
    stopCamera();
    describe(model);
  }
  at("options").hidden = !model.options.length;
  at("fields").replaceChildren(...model.options.map(field));
}

function field(name) {
  const id = `option-${name}`;
  const box = made("div");
  const label = made("label", NAMES[name] ?? name, { htmlFor: id });
  if (name === "agnostic_nms") {
    box.className = "flag";
    box.append(made("input", "", { id, type: "checkbox", name }), label);
  } else {
    box.append(label, made("input", "", { id, type: "text", name, inputMode: "decimal", autocomplete: "off" }));
  }
  return box;
}

function describe(model) {
  const rows = model.inputs.map((one) => ({ name: one.name, type: one.dtype, shape: one.shape.join(" x ") || "one number" }));
  at("inputs").replaceChildren(table(rows, "Inputs"));
  const { name, dtype, datatype, shape } = model.inputs[0];
  const sizes = shape.map((size) => (typeof size === "number" ? size : 1));
  at("program").textContent = [
    "import numpy as np", "import tritonclient.http as http", "",
    `client = http.InferenceServerClient(${JSON.stringify(location.host)})`,
    `array = np.zeros(${JSON.stringify(sizes).replace("[", "(").replace("]", ",)")}, np.${dtype})`,
    `one = http.InferInput(${JSON.stringify(name)}, list(array.shape), ${JSON.stringify(datatype)})`,
    "one.set_data_from_numpy(array)",
    `print(client.infer(${JSON.stringify(model.name)}, [one]).get_response())`,
  ].join("\n");
}

function query() {
  const model = chosen();
  const pairs = new URLSearchParams();
  for (const input of at("fields").querySelectorAll("input")) {
    if (input.type === "checkbox" ? input.checked : input.value.trim()) pairs.append(input.name, input.type === "checkbox" ? "true" : input.value.trim());
  }
  if (model.asks) {
    for (const line of at("instruction").value.split("\n")) if (line.trim()) pairs.append("instruction", line.trim());
  }
  return pairs;
}

async function look(picture, name, live = false) {
  const model = chosen();
  if (!model) return;
  const mine = ++asked;
  last = { picture, name };
  at("again").disabled = false;
  at("answer").setAttribute("aria-busy", "true");
  if (!live) at("status").textContent = `Looking at ${name} …`;
  const started = performance.now();
  try {
    const pairs = query();
    pairs.append("image", name);
    const told = await ask(`/v1/models/${encodeURIComponent(model.name)}/shown?${pairs}`, { method: "POST", body: picture });
    if (mine === asked) show(told, name, performance.now() - started, live);
  } catch (error) {
    if (mine !== asked) return;
    at("problem").textContent = error.message;
    at("status").textContent = "There is no answer.";
    if (live) stopCamera();
  } finally {
    if (mine === asked) at("answer").setAttribute("aria-busy", "false");
  }
}

function show(told, name, tookMs, live) {
  at("problem").textContent = "";
  const steps = Object.entries(told.ms).map(([step, ms]) => `${step} ${ms.toFixed(1)}`).join(", ");
  at("caption").textContent = `${name}: ${tookMs.toFixed(0)} ms there and back; on the server ms ${steps}`;
  at("figure").hidden = !told.drawn;
  if (told.drawn) {
    at("drawn").src = told.drawn;
    at("drawn").alt = `${name} with the answer drawn on it: ${told.short}`;
  }
  const { image, ...answer } = told.answer;
  const lists = Object.entries(answer).filter(([, value]) => Array.isArray(value) && value.length && typeof value[0] === "object");
  const notes = Object.values(answer).filter((value) => Array.isArray(value) && typeof value[0] === "string").flat();
  const found = lists.map(([key, rows]) => table(rows.flatMap((row) => flat(row)), key));
  const parts = found.length ? found : told.lines.map((line) => made("p", line.trim()));
  at("table").replaceChildren(...parts, ...notes.map((note) => made("p", note)));
  if (!live || at("status").textContent !== told.short) at("status").textContent = told.short;
  at("json").textContent = JSON.stringify(told.answer, null, 2);
  at("raw").hidden = false;
  keep(told.file, name);
}

function forget() { // an answer of one model does not stand below the name of another
  asked += 1;
  at("status").textContent = `Nothing was asked of ${at("model").value} yet.`;
  at("problem").textContent = "";
  at("table").replaceChildren();
  at("answer").setAttribute("aria-busy", "false");
  for (const id of ["figure", "raw", "keep"]) at(id).hidden = true;
}

function flat(row) { // a click has regions of its own: they are in the JSON
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null && !(Array.isArray(value) && typeof value[0] === "object")));
}

function table(rows, title) {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const head = made("tr");
  head.append(...keys.map((key) => made("th", key, { scope: "col" })));
  const body = made("tbody");
  for (const row of rows) {
    const line = made("tr");
    line.append(...keys.map((key) => cell(key, row[key])));
    body.append(line);
  }
  const top = made("thead");
  top.append(head);
  const whole = made("table");
  whole.append(made("caption", title), top, body);
  return whole;
}

function cell(key, value) {
  if (typeof value === "number" && SHARES.has(key)) {
    const one = made("td");
    one.append(made("meter", "", { min: 0, max: 1, value, ariaHidden: "true" }), made("span", `${(100 * value).toFixed(1)} %`));
    return one;
  }
  const spelled = (one) => (typeof one === "number" && !Number.isInteger(one) ? one.toFixed(2) : String(one));
  if (typeof value === "number") return made("td", spelled(value), { className: "number" });
  return made("td", Array.isArray(value) ? value.map(spelled).join(", ") : value === undefined ? "" : String(value));
}

function keep(file, name) {
  const link = at("keep");
  if (link.href) URL.revokeObjectURL(link.href);
  link.hidden = !file;
  if (!file) return;
  const bytes = Uint8Array.from(atob(file.data), (letter) => letter.charCodeAt(0));
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name.replace(/\.\w+$/, "") + file.suffix;
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    at("problem").textContent = "A browser gives its camera to pages of this machine and of https alone.";
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
  } catch (error) {
    at("problem").textContent = `There is no camera: ${error.message}`;
    return;
  }
  at("video").srcObject = stream;
  at("video").hidden = false;
  at("camera").textContent = "Stop the camera";
  at("camera").setAttribute("aria-pressed", "true");
  await at("video").play();
  frames(stream);
}

async function frames(own) {
  const video = at("video");
  const canvas = made("canvas");
  while (stream === own) {
    if (video.videoWidth) {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.getContext("2d").drawImage(video, 0, 0);
      const picture = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
      if (stream === own) await look(picture, "camera", true);
    }
    await new Promise((done) => setTimeout(done, CAMERA_MS));
  }
}

function stopCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  at("video").srcObject = null;
  at("video").hidden = true;
  at("camera").textContent = "Start the camera";
  at("camera").setAttribute("aria-pressed", "false");
}

at("secret").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("token").value = "";
  list().catch(() => at("token").focus());
});
at("model").addEventListener("change", () => { forget(); choose(); health(); });
at("file").addEventListener("click", (event) => { event.target.value = ""; }); // the same file may be chosen again
at("file").addEventListener("change", (event) => { const [file] = event.target.files; if (file) look(file, file.name); });
at("again").addEventListener("click", () => { if (last) look(last.picture, last.name); });
at("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file && chosen()?.pictures) look(file, file.name);
});
list().catch((error) => { if (at("secret").hidden) at("problem").textContent = error.message; }).finally(health);
setInterval(health, HEALTH_MS);
