// What the page knows of the service: events in, a picture of the present out. Knows nothing of the document.

const KEPT_REQUESTS = 300;
const KEPT_IMAGES = 22;
const KEPT_STATES = 2400; // 20 minutes, two a second

export class Picture {
  constructor() {
    /** The latest state; null before the first. */
    this.state = null;
    /** When it came [ms of the browser's clock]. */
    this.heard = 0;
    /** Requests by id, the oldest first. */
    this.requests = new Map();
    /** Requests that have an image to show, the latest first. */
    this.images = [];
    /** Columns for the chart: time [s since 1970], p50, p95 and p99 of the delay [s]. */
    this.history = [[], [], [], []];
  }

  apply(kind, data) {
    if (kind === "state") this.#state(data);
    else if (kind === "request") this.#request(data);
    else if (kind === "done") this.#done(data);
    else if (kind === "server") this.#server(data);
  }

  /** The feed begins anew: what ended meanwhile was not told. */
  forgetOpen() {
    for (const [id, request] of this.requests) if (!request.done) this.requests.delete(id);
  }

  /** Requests in flight at a server, the oldest first. */
  at(server) {
    return [...this.requests.values()].filter((request) => !request.done && request.server === server);
  }

  /** All requests, the latest first. */
  latest() {
    return [...this.requests.values()].reverse();
  }

  #state(state) {
    this.state = state;
    this.heard = Date.now();
    const row = [state.t, state.p50_s, state.p95_s, state.p99_s];
    row.forEach((value, column) => {
      this.history[column].push(value);
      if (this.history[column].length > KEPT_STATES) this.history[column].shift();
    });
  }

  #request(request) {
    const known = this.requests.get(request.id);
    this.requests.set(request.id, { ...known, ...request, done: null });
    for (const id of this.requests.keys()) {
      if (this.requests.size <= KEPT_REQUESTS) break;
      this.requests.delete(id);
    }
  }

  #done(done) {
    const request = this.requests.get(done.id);
    if (!request) return;
    const ended = { ...request, server: done.server ?? request.server, done };
    this.requests.set(done.id, ended);
    if (done.thumb) this.images = [ended, ...this.images].slice(0, KEPT_IMAGES);
  }

  #server({ name, state, reason }) {
    const server = this.state?.servers.find((one) => one.name === name);
    if (server) Object.assign(server, { state, reason });
  }
}
