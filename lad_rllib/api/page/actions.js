// Changes of the running service. The key is kept in this page's memory only: it is gone when the page is closed.

export class Actions {
  constructor() {
    this.key = "";
  }

  /** Headers that say who asks. */
  headers() {
    return this.key ? { authorization: `Bearer ${this.key}` } : {};
  }

  /** Names of the schedulers that can be put in charge; none if they cannot be asked for. */
  async policies() {
    try {
      return await (await fetch("page/policies.json")).json();
    } catch {
      return [];
    }
  }

  /** What other schedulers would have done; resolves to the answer, or a line that says why there is none. */
  replays() {
    return this.#ask("GET", "v1/fleet/shadow", undefined, () => "");
  }

  /** Send a server no more requests; resolves to a line that says how it went. */
  drain(name) {
    const path = `v1/fleet/servers/${encodeURIComponent(name)}/drain`;
    return this.#ask("POST", path, undefined, () => `${name} is draining: it finishes what it has.`);
  }

  /** Let another policy decide; resolves to a line that says how it went. */
  swap(policy) {
    return this.#ask("PUT", "v1/fleet/policy", { policy }, (said) => `In charge now: ${said.policy ?? policy}.`);
  }

  async #ask(method, path, body, done) {
    const headers = { ...this.headers(), "content-type": "application/json" };
    try {
      const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
      const said = await answer.json().catch(() => ({}));
      if (answer.ok) return { ok: true, said, text: done(said) };
      const needsKey = answer.status === 401 || answer.status === 403;
      return { ok: false, needsKey, text: said.error?.message ?? `The service answered ${answer.status}.` };
    } catch {
      return { ok: false, text: "The service cannot be reached." };
    }
  }
}
