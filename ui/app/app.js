// What the pages do in the browser, delegated from the document so that it holds for whatever is drawn later.

// A file field that still names a file does not notice when the same one is chosen again.
document.addEventListener('click', (event) => {
  if (event.target instanceof HTMLInputElement && event.target.type === 'file') event.target.value = '';
}, true);
window.addEventListener('unhandledrejection', (event) => {  // a recording that is attached while its waveform loads
  if (event.reason?.name === 'AbortError') event.preventDefault();
});

// What is copied of an answer is what it says: no figures, no links to its evidence, none of the marks that keep
// Markdown from reading it. The same for a question that is edited in place.
const asSaid = (text) => text
  .replace(/\s*<small>.*?<\/small>/gs, '')
  .replace(/ ?\[\\\[[^\]]*\\\]\]\(#evidence[^)]*\)/g, '')
  .replace(/ {2}\n/g, '\n')
  .replace(/\u2060/g, '')
  .replace(/\u00a0/g, ' ')
  .replace(/\\([\\`*_\[\]<>~|&#+=.)-])/g, '$1');
if (navigator.clipboard) {
  const write = navigator.clipboard.writeText.bind(navigator.clipboard);
  navigator.clipboard.writeText = (text) => write(asSaid(text));
}
new MutationObserver(() => {
  for (const area of document.querySelectorAll('#chat textarea:not([data-as-said])')) {
    area.dataset.asSaid = 'yes';
    setTimeout(() => {  // once the page has put the text there
      const said = asSaid(area.value);
      if (said === area.value) return;
      area.value = said;
      area.dispatchEvent(new Event('input', {bubbles: true}));
    });
  }
}).observe(document, {childList: true, subtree: true});

// The open page is in the address (#/chat), so that a reload or a link comes back to it.
document.addEventListener('click', (event) => {
  const tab = event.target.closest?.('#pages button[data-tab-id]');
  if (tab) history.replaceState(history.state, '', `#/${tab.dataset.tabId}`);
}, true);
{
  const wanted = (location.hash.match(/^#\/([a-z]+)/) || [])[1];
  let left = 200;
  const open = () => {
    const tab = document.querySelector(`#pages button[data-tab-id="${wanted}"]`);
    if (tab) tab.click();
    else if (left-- > 0) setTimeout(open, 50);
  };
  if (wanted) open();
}

// A finding's box, chip and citations are lit together; the others stay as they are.
const named = (element) => {
  const at = element?.closest?.('[data-finding], a[href^="#evidence-"]');
  if (!at) return null;
  const number = at.dataset.finding || at.getAttribute('href').split('-')[2];
  return number === '0' ? null : {at, number, turn: at.dataset.finding ? null : at.getAttribute('href').split('-')[1]};
};
const scopeOf = (element) => element.closest('.linked') || document;
const light = (event) => {
  document.querySelectorAll('.lit').forEach((element) => element.classList.remove('lit'));
  const found = named(event.target);
  if (!found || event.type === 'mouseout' || event.type === 'focusout') return;
  const scope = scopeOf(found.at);
  const turn = found.turn || scope.querySelector('.evidence')?.dataset.turn;
  if (found.turn && scope.querySelector('.evidence')?.dataset.turn !== found.turn) return;
  scope.querySelectorAll(`[data-finding="${found.number}"], a[href="#evidence-${turn}-${found.number}"]`)
    .forEach((element) => element.classList.add('lit'));
};
for (const kind of ['mouseover', 'mouseout', 'focusin', 'focusout']) document.addEventListener(kind, light);

// A click on a finding plays its second; on a box or chip it also keeps the finding chosen until the next click.
document.addEventListener('click', (event) => {
  const found = named(event.target);
  if (!found) return;
  if (found.at.matches('a')) event.preventDefault();
  const scope = scopeOf(found.at);
  scope.querySelectorAll('[data-finding][aria-current]').forEach((element) => element.removeAttribute('aria-current'));
  const same = scope.querySelectorAll(`[data-finding="${found.number}"]`);
  same.forEach((element) => element.setAttribute('aria-current', 'true'));
  const timed = [...same].find((element) => element.dataset.at);
  const player = timed?.closest('.evidence')?.querySelector('audio, video');
  if (player) player.currentTime = Number(timed.dataset.at) + 0.01;
  if (found.at.matches('a, .cite')) same[0]?.closest('.evidence')?.scrollIntoView({behavior: 'smooth', block: 'nearest'});
});

// Boxes on a film stand where the film has them, while it shows what they are about.
const place = (film) => {
  for (const box of film.parentElement.querySelectorAll('[data-box]')) {
    const [x0, y0, x1, y1] = box.dataset.box.split(' ').map(Number);
    Object.assign(box.style, {
      left: `${100 * x0 / film.videoWidth}%`, width: `${100 * (x1 - x0) / film.videoWidth}%`,
      top: `${100 * y0 / film.videoHeight}%`, height: `${100 * (y1 - y0) / film.videoHeight}%`,
    });
    box.hidden = !film.videoWidth || film.currentTime < Number(box.dataset.from) || film.currentTime > Number(box.dataset.to);
  }
};
for (const kind of ['loadedmetadata', 'timeupdate', 'seeked']) {
  document.addEventListener(kind, (event) => { if (event.target.matches?.('.evidence video')) place(event.target); }, true);
}

// Votes by key, on whichever page shows buttons that take one; never while somebody types.
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest?.('textarea, select, [contenteditable=true], input:not([type=checkbox])')) return;
  const vote = {a: 'a', b: 'b', t: 'tie', n: 'bad'}[event.key.toLowerCase()];
  if (!vote) return;
  for (const found of document.querySelectorAll(`.vote-${vote}`)) {
    const button = found.matches('button') ? found : found.querySelector('button');
    if (button && !button.disabled && button.offsetParent) {
      event.preventDefault();
      button.click();
      return;
    }
  }
});
