// The page's state, and what happens when something is dropped, asked or stopped.

import { json, request, stream } from "/server.js";
import { documentRow, missing, pendingRow, picture, turn } from "/view.js";

const $ = (id) => document.getElementById(id);
const [files, form, question, send, stop, reset] =
  ["files", "ask", "question", "send", "stop", "reset"].map($);

/** What `GET /api/about` said last. */
let about = null;
/** A promise of the name of this tab's room; null before something is brought. */
let room = null;
let documents = [];
/** Which state of them that is. */
let revision = 0;
/** Uploads on their way. */
let pending = 0;
/** The question that is being answered. */
let asking = null;

// --- Saying things ---

/** Tells what sighted people see on the page. */
function announce(text) {
  $("status").textContent = text;
}

function alarm(text) {
  $("alert").textContent = "";
  // A text that stays the same is not read out again.
  requestAnimationFrame(() => { $("alert").textContent = text; });
}

function draw() {
  const ready = documents.length > 0;
  const entries = $("entries").childElementCount;
  document.body.classList.toggle("busy", ready || pending > 0 || entries > 0);
  question.disabled = !ready;
  question.placeholder = ready ? "Ask about the documents"
    : pending > 0 ? "The document is being read" : "Bring a document first";
  send.disabled = !ready || question.value.trim() === "";
  send.hidden = asking !== null;
  stop.hidden = asking === null;
  reset.hidden = entries === 0;
}

function drawDocuments() {
  const rows = documents.map((info) => documentRow(info, () => removeDocument(info)));
  $("documents").querySelectorAll(".document:not(.pending)").forEach((row) => row.remove());
  $("documents").prepend(...rows);
  draw();
}

async function look() {
  try {
    about = await request("/api/about");
  } catch (error) {
    alarm(error.message);
    return;
  }
  $("machine").textContent = about.software ? `on ${about.adapter}, a software driver` : `on ${about.adapter}`;
  $("machine").title = about.adapter;
  $("limit").textContent = `Up to ${Math.round(about.max_upload / 1e5) / 10} MB each.`;
  $("notices").replaceChildren(...about.models.filter((model) => !model.present).map(missing));
}

function lacks(duty) {
  return about?.models.find((model) => model.duty === duty && !model.present);
}

// --- The room ---

/** The room's path; opens one where there is none. Two files dropped together come into the same. */
async function here() {
  room ??= request("/api/rooms", { method: "POST" }).then((opened) => {
    sessionStorage.setItem("room", opened.room);
    return opened.room;
  });
  try {
    return `/api/rooms/${await room}`;
  } catch (error) {
    room = null;
    throw error;
  }
}

/** Takes over the room's documents, unless newer ones are known. */
function settle(state) {
  if (state.documents && state.revision >= revision) {
    documents = state.documents;
    revision = state.revision;
  }
}

/** A room that the server no longer knows is left; what it held is gone. */
function leave() {
  room = null;
  documents = [];
  revision = 0;
  sessionStorage.removeItem("room");
  drawDocuments();
}

/** Goes on where this tab was before it was reloaded. */
async function resume() {
  const known = sessionStorage.getItem("room");
  if (!known) return;
  try {
    const state = await request(`/api/rooms/${known}`);
    room = Promise.resolve(known);
    settle(state);
    for (const past of state.turns) {
      const view = turn(past.question);
      view.finish(past);
      $("entries").append(view.entry);
    }
    drawDocuments();
  } catch {
    sessionStorage.removeItem("room");
  }
}

// --- Files ---

const isPicture = (file) => file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|tiff?|heic|avif)$/i.test(file.name);

function tooLarge(file) {
  if (about && file.size > about.max_upload) {
    const size = Math.round(file.size / 1e5) / 10;
    return `${file.name} has ${size} MB; at most ${Math.round(about.max_upload / 1e5) / 10} MB are taken.`;
  }
  return null;
}

function take(list) {
  for (const file of list) {
    if (isPicture(file)) classify(file);
    else addDocument(file);
  }
}

async function addDocument(file) {
  const abort = new AbortController();
  const view = pendingRow(file.name, () => abort.abort());
  view.row.classList.add("pending");
  $("documents").append(view.row);
  pending += 1;
  draw();
  announce(`Reading ${file.name}`);
  try {
    const fault = tooLarge(file);
    if (fault) throw new Error(fault);
    const path = `${await here()}/documents?name=${encodeURIComponent(file.name)}`;
    await stream(path, { method: "POST", body: file, signal: abort.signal }, (event) => {
      settle(event);
      view.tell(event);
    });
    view.row.remove();
    announce(`${file.name} is ready`);
  } catch (error) {
    if (error.name === "AbortError") view.row.remove();
    else {
      if (error.status === 404) leave();
      view.fail(error.message);
      alarm(error.message);
    }
  } finally {
    pending -= 1;
    drawDocuments();
    if (documents.length > 0 && document.activeElement === document.body) question.focus({ preventScroll: true });
  }
}

async function removeDocument(info) {
  try {
    await stream(`${await here()}/documents/${info.id}`, { method: "DELETE" }, settle);
    announce(`${info.name} is removed`);
    files.focus();
  } catch (error) {
    if (error.status === 404) leave();
    alarm(error.message);
    announce(error.message);
  }
  drawDocuments();
}

async function classify(file) {
  const url = URL.createObjectURL(file);
  const view = picture(file.name, url);
  show(view.entry);
  announce(`Classifying ${file.name}`);
  try {
    const lacking = lacks("pictures");
    if (lacking) throw new Error(`Pictures need ${lacking.name}, which is not on this machine; ${lacking.fetch} brings it.`);
    const fault = tooLarge(file);
    if (fault) throw new Error(fault);
    const path = `/api/pictures?name=${encodeURIComponent(file.name)}`;
    await stream(path, { method: "POST", body: file }, (event) => {
      if (event.event === "classes") {
        view.finish(event.classes);
        const [first] = event.classes.classes;
        announce(`${file.name}: ${first.label}, ${Math.round(first.probability * 100)} percent`);
      } else view.tell(event);
    });
  } catch (error) {
    view.fail(error.message);
    alarm(error.message);
  }
  view.entry.scrollIntoView({ block: "nearest" });
}

// --- Questions ---

function show(entry) {
  $("entries").append(entry);
  draw();
  entry.scrollIntoView({ block: "nearest" });
}

/** Whether the end of the page is in sight: then it stays there as an answer grows. */
const atEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;

async function ask() {
  const text = question.value.trim();
  if (text === "" || asking !== null || documents.length === 0) return;
  question.value = "";
  fit();
  const view = turn(text);
  asking = new AbortController();
  show(view.entry);
  announce("Looking for an answer");
  try {
    const options = { ...json({ question: text }), signal: asking.signal };
    await stream(`${await here()}/questions`, options, (event) => {
      const follow = atEnd();
      if (event.event === "answer") {
        view.finish(event.turn);
        announce(`Answer: ${event.turn.answer}`);
      } else view.tell(event);
      if (follow) scrollTo({ top: document.documentElement.scrollHeight });
    });
  } catch (error) {
    if (error.name === "AbortError") {
      view.fail("Stopped.");
      announce("Stopped");
    } else {
      if (error.status === 404) leave();
      view.fail(error.message);
      alarm(error.message);
    }
    // It may be worth another try.
    if (question.value === "") question.value = text;
    fit();
  }
  asking = null;
  draw();
  question.focus({ preventScroll: true });
}

async function beginAnew() {
  asking?.abort();
  if (room !== null) {
    try {
      await request(`${await here()}/turns`, { method: "DELETE" });
    } catch (error) {
      if (error.status === 404) leave();
      else return alarm(error.message);
    }
  }
  $("entries").replaceChildren();
  draw();
  announce("A new conversation");
  (question.disabled ? files : question).focus();
}

/** The field is as high as what is in it. */
function fit() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
  draw();
}

// --- Wiring ---

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
question.addEventListener("input", fit);
question.addEventListener("keydown", (event) => {
  // Enter asks; with Shift, and while characters are being composed, it does not.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") asking?.abort();
});
stop.addEventListener("click", () => asking?.abort());
reset.addEventListener("click", beginAnew);
files.addEventListener("change", () => {
  take([...files.files]);
  files.value = "";
});

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0;
document.addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  depth += 1;
  $("curtain").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!carriesFiles(event)) return;
  depth -= 1;
  $("curtain").hidden = depth > 0 ? $("curtain").hidden : true;
});
document.addEventListener("dragover", (event) => {
  // Otherwise the browser would open the file in place of the page.
  if (carriesFiles(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth = 0;
  $("curtain").hidden = true;
  take([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length > 0) take([...event.clipboardData.files]);
});
// A model may have been fetched in the meantime.
addEventListener("focus", look);

await look();
await resume();
draw();
