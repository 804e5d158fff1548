// What can be changed here: the policy in charge (servers are drained where they are shown), with a key.

import { html, useEffect, useRef } from "../vendor/htm-preact.js";

export function Actor({ policies, onKey, onSwap }) {
  const submit = (use, name) => (event) => {
    event.preventDefault();
    use(event.target.elements[name].value.trim());
  };
  return html`
    <section class="card wide" aria-labelledby="actions">
      <h2 id="actions">Actions</h2>
      <div class="forms">
        <form onSubmit=${submit((key) => onKey(key), "key")}>
          <label for="key">Admin key</label>
          <div class="field">
            <input id="key" name="key" type="password" autocomplete="off" spellcheck="false" aria-describedby="key-hint" />
            <button type="submit">Use</button>
          </div>
          <p class="hint" id="key-hint">Kept in this page's memory only. Without keys, changes are for this machine.</p>
        </form>
        <form onSubmit=${submit((policy) => policy && onSwap(policy), "policy")}>
          <label for="policy">Policy to put in charge</label>
          <div class="field">
            <input id="policy" name="policy" list="policies" autocomplete="off" spellcheck="false" required />
            <datalist id="policies">${policies.map((name) => html`<option key=${name} value=${name}></option>`)}</datalist>
            <button type="submit">Swap</button>
          </div>
          <p class="hint">A shipped policy, a scheduler, or the folder of a checkpoint.</p>
        </form>
      </div>
    </section>
  `;
}

/** Asks before a change that this page cannot take back. */
export function Confirm({ asked, onYes, onNo }) {
  const dialog = useRef(null);
  useEffect(() => {
    if (asked) dialog.current.showModal();
    else dialog.current.close();
  }, [asked]);
  return html`
    <dialog ref=${dialog} aria-labelledby="asked" onClose=${() => asked && onNo()}>
      <p id="asked">${asked?.text}</p>
      <div class="choices">
        <button type="button" onClick=${onNo}>Cancel</button>
        <button type="button" onClick=${() => onYes(asked.change)}>Yes</button>
      </div>
    </dialog>
  `;
}

/** What became of the latest action. */
export function Said({ said, onClose }) {
  return html`
    <div class=${`said ${said && !said.ok ? "failed" : ""}`} hidden=${!said}>
      <p role="status">${said?.text}</p>
      <button type="button" class="small" onClick=${onClose}>Close</button>
    </div>
  `;
}
