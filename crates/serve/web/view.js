// Makes the parts of the page. All text that comes from elsewhere is set as text, never as markup.

/** An element with attributes, properties and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** `1 page`, `2 pages`. */
export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

export function seconds(number) {
  return number < 9.95 ? `${number.toFixed(1)} s` : `${Math.round(number)} s`;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A message without the name of what it is about, where that stands beside it. */
function without(name, message) {
  return capital(message.startsWith(`${name}: `) ? message.slice(name.length + 2) : message);
}

/** What an event of a waiting or running job says to people; null where it says nothing. */
export function told(event) {
  switch (event.event) {
    case "queued": return event.ahead === 1 ? "Waiting for one other job" : `Waiting for ${event.ahead} other jobs`;
    case "started": return "Working";
    case "step": return capital(event.what);
    case "progress": return `${event.done.toLocaleString("en")} of ${counted(event.total, event.what)}`;
    default: return null;
  }
}

/** A document that can be asked about. */
export function documentRow(info, onRemove) {
  const facts = [info.pages === null ? null : counted(info.pages, "page"), counted(info.passages, "passage")];
  return make("li", { class: "document" },
    make("span", { class: "name" }, info.name),
    make("button", { type: "button", class: "quiet", "aria-label": `Remove ${info.name}`, onclick: onRemove }, "Remove"),
    make("span", { class: "facts" }, facts.filter(Boolean).join(", ")),
    ...info.notices.map((notice) => make("span", { class: "remark" }, notice)),
  );
}

/** A document that is on its way. `tell` shows an event, `fail` why it did not come. */
export function pendingRow(name, onCancel) {
  const facts = make("span", { class: "facts" }, "Sending");
  const bar = make("progress", { "aria-label": `Reading ${name}` });
  const button = make("button",
    { type: "button", class: "quiet", "aria-label": `Cancel ${name}`, onclick: onCancel }, "Cancel");
  const row = make("li", { class: "document" }, make("span", { class: "name" }, name), button, facts, bar);
  return {
    row,
    tell(event) {
      facts.textContent = told(event) ?? facts.textContent;
      if (event.event === "progress") {
        bar.max = event.total;
        bar.value = event.done;
      } else {
        bar.removeAttribute("value");
      }
    },
    fail(message) {
      row.classList.add("failed");
      facts.textContent = without(name, message);
      facts.className = "remark";
      bar.remove();
      button.replaceWith(make("button",
        { type: "button", class: "quiet", "aria-label": `Dismiss ${name}`, onclick: () => row.remove() }, "Dismiss"));
    },
  };
}

/** A question with the place for its answer. */
export function turn(question) {
  const state = make("p", { class: "state" }, "Working");
  const answer = make("p", { class: "answer" });
  const made = make("p", { class: "made" });
  const card = make("div", { class: "card", "aria-busy": "true" }, state, answer, made);
  const entry = make("li", { class: "entry" }, make("p", { class: "asked" }, question), card);
  const settle = () => {
    card.removeAttribute("aria-busy");
    state.textContent = "";
  };
  return {
    entry,
    tell(event) {
      if (event.event === "text") {
        answer.append(event.text);
        state.textContent = "";
      } else {
        state.textContent = told(event) ?? state.textContent;
      }
    },
    finish(reply) {
      settle();
      answer.textContent = reply.answer;
      const by = reply.model === null ? "Quoted from the documents" : `Written by ${reply.model}`;
      made.textContent = `${by} in ${seconds(reply.seconds)}.`;
      for (const notice of reply.notices) card.append(make("p", { class: "made" }, `Note: ${notice}.`));
      if (reply.sources.length > 0) card.append(sources(reply.sources));
    },
    fail(message) {
      settle();
      card.classList.add("failed");
      made.textContent = capital(message);
    },
  };
}

function sources(list) {
  const item = (source) => make("details", {},
    make("summary", {},
      make("span", { class: "place" }, place(source)),
      make("span", { class: "distance" }, `distance ${source.distance.toFixed(3)}`)),
    make("p", { class: "passage" }, passageText(source)));
  return make("div", { class: "sources" },
    make("h3", {}, "Sources"), make("ul", {}, ...list.map((source) => make("li", {}, item(source)))));
}

/** On a page, lines end where its width said so; in text they may mean something. */
function passageText({ text, page }) {
  return page === null ? text.trim() : text.trim().replace(/([^\n])\n(?!\s*\n)/g, "$1 ");
}

function place({ document, page, page_end: end, passage }) {
  if (page === null) return `${document}, passage ${passage}`;
  return end === null ? `${document}, page ${page}` : `${document}, pages ${page}–${end}`;
}

/** A picture with the place for its classes. */
export function picture(name, url) {
  const state = make("p", { class: "state" }, "Sending");
  const bars = make("ul", { class: "bars", "aria-label": `What ${name} shows` });
  const made = make("p", { class: "made" });
  const image = make("img", { src: url, alt: "" });
  // What the browser cannot show, the server may still read, or refuse with a better message.
  image.addEventListener("error", () => image.remove());
  const card = make("figure", { class: "card picture", "aria-busy": "true" },
    image, make("div", {}, make("figcaption", {}, name), state, bars, made));
  const settle = () => {
    card.removeAttribute("aria-busy");
    state.textContent = "";
  };
  return {
    entry: make("li", { class: "entry" }, card),
    tell(event) {
      state.textContent = told(event) ?? state.textContent;
    },
    finish({ model, classes, seconds: time }) {
      settle();
      bars.append(...classes.map(bar));
      made.textContent = `By ${model} in ${seconds(time)}.`;
    },
    fail(message) {
      settle();
      bars.remove();
      card.classList.add("failed");
      made.textContent = without(name, message);
    },
  };
}

function bar({ label, probability }) {
  const filled = make("span");
  filled.style.width = `${probability * 100}%`;
  const share = probability >= 0.0005 ? `${(probability * 100).toFixed(1)} %` : "< 0.1 %";
  return make("li", {},
    make("span", { class: "label" }, label),
    make("span", { class: "share" }, share),
    make("span", { class: "bar", "aria-hidden": "true" }, filled));
}

/** A model that is not on the machine: what is missed, and the command that brings it. */
export function missing({ duty, name, fetch: command }) {
  const text = {
    retrieval: `Questions need ${name}, which is not on this machine.`,
    writing: `Answers are quoted from the documents. With ${name} on this machine they are written.`,
    pictures: `Pictures need ${name}, which is not on this machine.`,
  }[duty];
  // Without documents' model there is nothing to be had of most of the page.
  const line = make("li", { class: duty === "retrieval" ? "notice" : "notice mild" }, text ?? `${name} is not on this machine.`);
  if (command) {
    const copy = make("button", { type: "button", class: "quiet" }, "Copy");
    copy.addEventListener("click", async () => {
      // Browsers grant the clipboard to secure pages, of which localhost is one.
      await navigator.clipboard?.writeText(command).then(() => { copy.textContent = "Copied"; }, () => {});
    });
    line.append(make("span", { class: "command" }, make("code", {}, command), navigator.clipboard ? copy : null));
  }
  return line;
}
