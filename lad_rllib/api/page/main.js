// The page: a feed of events, a picture of the service made from it, and the document drawn from the picture.

import { Actions } from "./actions.js";
import { Feed } from "./feed.js";
import { Actor, Confirm, Said } from "./parts/actor.js";
import { Delays } from "./parts/delays.js";
import { Figures } from "./parts/figures.js";
import { Images } from "./parts/images.js";
import { Requests } from "./parts/requests.js";
import { Servers } from "./parts/servers.js";
import { Shadow } from "./parts/shadow.js";
import { Status } from "./parts/status.js";
import { Why } from "./parts/why.js";
import { Picture } from "./picture.js";
import { html, render } from "./vendor/htm-preact.js";

const picture = new Picture();
const actions = new Actions();
const root = document.getElementById("page");

/** What is shown besides the picture: the feed's status, the chosen request, what is asked, what was said, replays. */
const view = { status: "connecting", why: "", selected: null, asked: null, said: null, policies: [], shadow: {} };

let isDue = false;

/** Draw soon: many events, one drawing. */
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    render(html`<${Page} />`, root);
  });
}

function show(change) {
  Object.assign(view, change);
  draw();
}

const feed = new Feed(
  "events",
  () => actions.headers(),
  (kind, data) => {
    picture.apply(kind, data);
    draw();
  },
  (status, why) => {
    if (status === "live") picture.forgetOpen();
    show({ status, why });
  },
);

function select(id) {
  show({ selected: picture.requests.get(id) ?? null });
  if (view.selected) document.getElementById("why").scrollIntoView({ block: "nearest" });
}

function useKey(key) {
  show({ said: { ok: true, text: key ? "The key is used until this page is closed." : "No key is used." } });
  actions.key = key;
  feed.connect();
}

async function act(change) {
  show({ asked: null, said: { ok: true, text: "The service is asked …" } });
  show({ said: await change() });
  if (view.said.needsKey) document.getElementById("key").focus();
}

async function playAgain() {
  show({ shadow: { ...view.shadow, isAsked: true } });
  const { ok, said, text } = await actions.replays();
  show({ shadow: ok ? { told: said } : { ...view.shadow, isAsked: false, problem: text } });
}

function askToDrain(name) {
  const text = `Drain ${name}? It finishes what it has and gets no more requests.`;
  show({ asked: { text, change: () => actions.drain(name) } });
}

function Page() {
  const { status, why, asked, said, policies, shadow } = view;
  const selected = view.selected && (picture.requests.get(view.selected.id) ?? view.selected);
  return html`
    <${Status}
      status=${status}
      why=${why}
      heard=${picture.heard}
      policy=${picture.state?.policy}
      policyNotice=${picture.state?.policy_notice}
    />
    <main class=${status === "live" ? "" : "stale"}>
      <${Figures} state=${picture.state} />
      <${Servers} picture=${picture} selected=${selected} onSelect=${select} onDrain=${askToDrain} />
      <${Requests} requests=${picture.latest()} selected=${selected} onSelect=${select} />
      <${Why} request=${selected} onClose=${() => select(null)} />
      <${Delays} history=${picture.history} />
      <${Shadow} shadow=${shadow} onAsk=${playAgain} />
      <${Images} requests=${picture.images} onSelect=${select} />
      <${Actor} policies=${policies} onKey=${useKey} onSwap=${(policy) => act(() => actions.swap(policy))} />
    </main>
    <${Confirm} asked=${asked} onYes=${act} onNo=${() => show({ asked: null })} />
    <${Said} said=${said} onClose=${() => show({ said: null })} />
  `;
}

draw();
feed.connect();
actions.policies().then((policies) => show({ policies }));
setInterval(draw, 1000); // the age of the figures grows without events
addEventListener("pagehide", () => feed.close()); // a browser may keep the page, and its stream, to come back to
addEventListener("pageshow", (event) => event.persisted && feed.connect());
