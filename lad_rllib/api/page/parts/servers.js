// The edge servers: state, queue as a bar in seconds on one scale for all, and the requests that each has.

import { asked, number, roundUp, seconds, short } from "../format.js";
import { html } from "../vendor/htm-preact.js";

const SHOWN = 10; // requests of a server; the rest is a number
const LEAST_S = 1; // the bars' scale ends there or later

// No stop of the tab key: one that goes while it has the focus takes the focus along. Keys choose in the list of requests.
function Chip({ request, isRunning, isSelected, onSelect }) {
  const words = `${asked(request)}, ${isRunning ? "running" : "waiting"}`;
  return html`
    <button
      type="button"
      tabindex="-1"
      class=${`chip ${isRunning ? "running" : ""}`}
      title=${words}
      aria-pressed=${isSelected}
      onClick=${() => onSelect(request.id)}
    >
      ${short(request.id).slice(-3)}<span class="unseen">, ${words}</span>
    </button>
  `;
}

function Server({ server, requests, end_s, selected, onSelect, onDrain }) {
  const share = Math.min(server.queue_s / end_s, 1);
  const queue = seconds(server.queue_s);
  const shown = requests.slice(0, SHOWN);
  const more = Math.max(server.tasks, requests.length) - shown.length; // those that came before the page was opened, too
  return html`
    <li class=${`server ${server.state}`}>
      <div class="title">
        <h3>${server.name}</h3>
        <span class=${`badge ${server.state}`}>${server.state}</span>
        ${server.state !== "up" && server.reason && html`<span class="reason">${server.reason}</span>`}
      </div>
      <div
        class="bar"
        role="meter"
        aria-label=${`Queue of ${server.name}`}
        aria-valuemin="0"
        aria-valuemax=${end_s}
        aria-valuenow=${Math.min(server.queue_s, end_s)}
        aria-valuetext=${queue}
      >
        <span class="fill" style=${{ width: `${100 * share}%` }}></span>
        <span class="value">${queue}</span>
      </div>
      <p class="facts">
        <span>${server.tasks} ${server.tasks === 1 ? "request" : "requests"}</span>
        <span title="measured over expected speed of its latest images">speed × ${number(server.speed)}</span>
        <span>${server.served} served</span>
      </p>
      <button
        type="button"
        class="small"
        aria-label=${`Drain ${server.name}`}
        disabled=${server.state === "draining"}
        onClick=${() => onDrain(server.name)}
      >
        Drain
      </button>
      <div class="chips" role="group" aria-label=${`Requests at ${server.name}`}>
        ${shown.map(
          (request) => html`
            <${Chip}
              key=${request.id}
              request=${request}
              isRunning=${request.id === server.running}
              isSelected=${request.id === selected?.id}
              onSelect=${onSelect}
            />
          `,
        )}
        ${more > 0 && html`<span class="more">${shown.length > 0 && "and "}${more} more</span>`}
      </div>
    </li>
  `;
}

export function Servers({ picture, selected, onSelect, onDrain }) {
  const servers = picture.state?.servers ?? [];
  const end_s = roundUp(Math.max(LEAST_S, ...servers.map((server) => server.queue_s)));
  return html`
    <section class="card wide" aria-labelledby="servers">
      <h2 id="servers">Servers</h2>
      <p class="hint">Bars: time until a server is done with what it has, from 0 to ${seconds(end_s)}. Below: its requests, the running
        one filled.</p>
      ${servers.length === 0 && html`<p class="empty">No servers yet.</p>`}
      <ul class="servers">
        ${servers.map(
          (server) => html`
            <${Server}
              key=${server.name}
              server=${server}
              requests=${picture.at(server.name)}
              end_s=${end_s}
              selected=${selected}
              onSelect=${onSelect}
              onDrain=${onDrain}
            />
          `,
        )}
      </ul>
    </section>
  `;
}
