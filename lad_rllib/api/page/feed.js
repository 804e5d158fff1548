// The feed of events: Server-Sent Events read by fetch, since EventSource cannot send a key. Reconnects by itself.

const SILENCE_MS = 4000; // the service tells its state twice a second
const RETRY_MS = [500, 1000, 2000, 4000];

/** Events in a text, and the rest that is not whole yet. */
export function parse(text) {
  const blocks = text.split("\n\n");
  const rest = blocks.pop();
  const events = [];
  for (const block of blocks) {
    let kind = "message";
    const data = [];
    for (const line of block.split("\n")) {
      if (line.startsWith("event:")) kind = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).trim());
    }
    if (data.length) events.push([kind, JSON.parse(data.join("\n"))]);
  }
  return [events, rest];
}

export class Feed {
  /**
   * @param {string} url where the events are
   * @param {() => object} headers headers of each request: the key, if there is one
   * @param {(kind: string, data: object) => void} onEvent told of every event
   * @param {(status: string, message: string) => void} onStatus told "live", "lost" or "refused", and why
   */
  constructor(url, headers, onEvent, onStatus) {
    Object.assign(this, { url, headers, onEvent, onStatus });
    this.failures = 0;
    this.timer = null;
    this.abort = null;
  }

  /** Connect now, with the key as it is; a stream that is open is left. */
  connect() {
    this.close();
    this.abort = new AbortController();
    this.read(this.abort);
  }

  /** Hear nothing more until the next connect. */
  close() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
  }

  async read(abort) {
    let why = "the service ended the stream";
    let watch = null;
    const heard = () => {
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      heard();
      const headers = { accept: "text/event-stream", ...this.headers() };
      const answer = await fetch(this.url, { headers, cache: "no-store", signal: abort.signal });
      if (answer.status === 401 || answer.status === 403) {
        const said = await answer.json().catch(() => ({}));
        return this.onStatus("refused", said.error?.message ?? "the service shows itself to holders of an admin key");
      }
      if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
      this.failures = 0;
      this.onStatus("live", "");
      let rest = "";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        heard();
        const [events, open] = parse(rest + value);
        rest = open;
        for (const [kind, data] of events) this.onEvent(kind, data);
      }
    } catch (error) {
      why = error.name === "AbortError" ? "nothing was heard for a while" : "the service cannot be reached";
    } finally {
      clearTimeout(watch);
    }
    if (abort !== this.abort) return; // it was closed, or another was opened
    this.onStatus("lost", why);
    this.timer = setTimeout(() => this.connect(), RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]);
  }
}
