// Each stage shows the pictures of its films at one scale. The range moves freely and rests at
// the pictures that there are; arrow keys go from one to the next.
document.documentElement.classList.add('js');
for (const stage of document.querySelectorAll('.stage')) {
  const { scales, notes } = JSON.parse(stage.dataset.rows);
  const range = stage.querySelector('input[type=range]');
  const said = stage.querySelector('output');
  const zero = scales.indexOf(0);
  const film = (id, k) => document.getElementById(`${id}-${k}`);
  const nearest = v => scales.reduce((a, s, k) => Math.abs(s - v) < Math.abs(scales[a] - v) ? k : a, 0);
  let at = -1;
  const show = k => {
    if (k === at) return;
    at = k;
    for (const pic of stage.querySelectorAll('.pic')) {
      const now = film(pic.dataset.film, k);
      pic.querySelector('.now').src = now.src;
      pic.querySelector('.now').alt = now.alt;
    }
    said.textContent = notes[k];
    range.setAttribute('aria-valuetext', notes[k]);
  };
  const go = k => { k = Math.max(0, Math.min(scales.length - 1, k)); range.value = scales[k]; show(k); };
  for (const pic of stage.querySelectorAll('.pic'))
    pic.querySelector('.zero').src = film(pic.dataset.film, zero).src;
  range.addEventListener('input', () => show(nearest(range.value)));
  range.addEventListener('change', () => go(nearest(range.value)));
  range.addEventListener('keydown', event => {
    const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1,
      Home: 0, End: scales.length - 1, PageUp: at + 1, PageDown: at - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  stage.querySelector('input[type=checkbox]').addEventListener('change', event =>
    stage.classList.toggle('maps', event.target.checked));
  go(nearest(range.value));
}
