// What the page asks of the server. A request that is refused, or whose stream reports a failure, throws an Error whose
// message is for people.

/** GET, or another method, of JSON. */
export async function request(path, options) {
  return (await send(path, options)).json();
}

/** Sends a request whose answer is a stream of events, one JSON object a line, and gives them to `onEvent` as they come. */
export async function stream(path, options, onEvent) {
  const response = await send(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let last = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      last = JSON.parse(line);
      if (last.event === "failed") throw new Error(last.message);
      onEvent(last);
    }
  }
  if (!last || !["answer", "documents", "classes"].includes(last.event)) {
    throw new Error("The connection to Kiln broke off. Is it still running?");
  }
}

/** A request whose body is a question. */
export function json(value) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("Kiln does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({ error: null }));
  const failure = new Error(error ?? `The server answered ${response.status}.`);
  failure.status = response.status;
  throw failure;
}
