// <pairedit-row data='{...}'>: pictures at positions of one or two sliders, shown as one drags.
//
// data: {key, people, axes: [{label, words}], panes: [{title, pictures: [{at: [x(, y)], src, note}]}]}
// All pictures are fetched and decoded once; a move draws and asks nobody for anything.
(() => {
  "use strict";
  const places = new Map();  // by key: where the slider was, so that another person is seen there
  const MAP = 256;  // px that a map of changes is computed at
  const LOUD = 2;  // times that a change is amplified in the map

  const STYLE = `
    :host { display: block; color: var(--body-text-color); font: inherit; }
    .panes { display: flex; flex-wrap: wrap; gap: 16px; justify-content: center; }
    figure { margin: 0; flex: 1 1 260px; max-width: min(100%, max(300px, 48vh)); min-width: 0; }
    figcaption { font-size: 14px; margin-bottom: 6px; overflow-wrap: anywhere; }
    canvas { display: block; width: 100%; aspect-ratio: 1; border-radius: 8px; cursor: ew-resize;
      background: var(--background-fill-secondary); touch-action: pan-y; }
    .two canvas { touch-action: none; cursor: move; }
    canvas:focus-visible, input:focus-visible, button:focus-visible, a:focus-visible {
      outline: 3px solid var(--studio-focus, #1d4ed8); outline-offset: 2px; }
    .axis { margin: 14px auto 0; max-width: 720px; }
    .head { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; }
    output { font-size: 28px; font-weight: 600; font-variant-numeric: tabular-nums; }
    .ticks { position: relative; height: 20px; margin: 0 6px; font-size: 13px; }
    .ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
    input[type=range] { width: 100%; height: 32px; margin: 4px 0 0;
      accent-color: var(--color-accent); }
    .said { max-width: 720px; margin: 8px auto 0; min-height: 3em; font-size: 15px; }
    .tools { display: flex; flex-wrap: wrap; gap: 8px; max-width: 720px; margin: 8px auto 0; }
    button, a { font: inherit; font-size: 15px; line-height: 1.4; box-sizing: border-box; height: 42px; padding: 0 14px;
      border-radius: 8px; border: 1px solid var(--studio-line, #6b7280); cursor: pointer;
      background: var(--background-fill-primary); color: var(--body-text-color);
      text-decoration: none; display: inline-flex; align-items: center; user-select: none;
      touch-action: manipulation; }
    button[aria-pressed=true] { border-width: 2px; font-weight: 600; }
    .keys { max-width: 720px; margin: 8px auto 0; font-size: 13px;
      color: var(--body-text-color-subdued); }`;

  class Row extends HTMLElement {
    static observedAttributes = ["data"];

    connectedCallback() {
      if (this.shadowRoot) return;
      this.attachShadow({ mode: "open" });
      this.addEventListener("keydown", (event) => this.key(event));
      this.addEventListener("keyup", (event) => {
        if (event.key.toLowerCase() === "o") this.hold(false);
      });
      this.addEventListener("focusout", () => this.hold(false));
      this.render();
    }

    // Gradio changes the element in place where it can.
    attributeChangedCallback() {
      if (this.shadowRoot) this.render();
    }

    render() {
      const text = this.getAttribute("data"), root = this.shadowRoot;
      if (text === this.text) return;
      const focused = (this.ranges || []).indexOf(root.activeElement);
      this.text = text;
      this.row = JSON.parse(text);
      this.held = this.mapped = false;
      this.removeAttribute("ready");
      root.replaceChildren();
      this.build(root);
      this.load(this.row);
      // Whoever has changed the person by a key goes on with the keys.
      this.ranges[focused]?.focus({ preventScroll: true });
    }

    get position() { return this.at; }

    build(root) {
      const { axes, panes, key } = this.row;
      const two = axes.length === 2;
      root.append(make("style", { textContent: STYLE }));
      const frame = make("div", { className: two ? "panes two" : "panes" });
      this.canvases = panes.map((pane) => {
        const canvas = make("canvas", { width: 512, height: 512, tabIndex: 0 });
        canvas.setAttribute("role", "img");
        const figure = make("figure");
        if (pane.title) figure.append(make("figcaption", { textContent: pane.title }));
        figure.append(canvas);
        frame.append(figure);
        this.pull(canvas);
        return canvas;
      });
      root.append(frame);
      this.values = axes.map((_, axis) =>
        [...new Set(panes.flatMap((p) => p.pictures.map((x) => x.at[axis])))].sort((a, b) => a - b));
      this.ranges = axes.map((axis, index) => this.axis(root, axis, index));
      this.said = make("div", { className: "said" });
      this.said.setAttribute("aria-live", "polite");
      root.append(this.said, this.tools(two));
      const change = this.row.people ? ", " + (two ? "Page Up and Page Down" : "up and down")
        + " change the person" : "";
      const move = two ? "Arrow keys move" : "Left and right move";
      root.append(make("div", { className: "keys",
        textContent: `${move}${change}, hold O for the original.` }));
      this.at = this.nearest(places.get(key) || axes.map((axis) => axis.start));
    }

    axis(root, axis, index) {
      const values = this.values[index], low = values[0], high = values.at(-1);
      const box = make("div", { className: "axis" });
      const head = make("div", { className: "head" });
      const number = make("output");
      head.append(make("span", { textContent: axis.label }), number);
      const range = make("input", { type: "range", min: low, max: high, step: "any" });
      range.setAttribute("aria-label", axis.label);
      range.addEventListener("input", () => {
        const wanted = [...this.at];
        wanted[index] = Number(range.value);
        this.move(wanted, index);
      });
      range.addEventListener("change", () => this.draw());
      const ticks = make("div", { className: "ticks" });
      for (const [at, words] of axis.ticks || []) {
        if (at < low || at > high || high === low) continue;
        const tick = make("span", { textContent: words });
        const share = (at - low) / (high - low);
        tick.style.left = `${100 * share}%`;
        // Words at the ends stay inside.
        if (share < 0.1) tick.style.transform = "none";
        if (share > 0.9) tick.style.transform = "translateX(-100%)";
        ticks.append(tick);
      }
      box.append(head, range, ticks);
      root.append(box);
      range.number = number;
      return range;
    }

    tools(two) {
      const box = make("div", { className: "tools" });
      const original = make("button", { type: "button", textContent: "Hold for the original" });
      original.addEventListener("pointerdown", (event) => {
        original.setPointerCapture(event.pointerId);
        this.hold(true);
      });
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
        original.addEventListener(end, () => this.hold(false));
      original.addEventListener("keydown", (event) => {
        if (event.key === " " || event.key === "Enter") { event.preventDefault(); this.hold(true); }
      });
      original.addEventListener("keyup", () => this.hold(false));
      original.addEventListener("contextmenu", (event) => event.preventDefault());
      const map = make("button", { type: "button", textContent: "Map of changes" });
      map.setAttribute("aria-pressed", "false");
      map.addEventListener("click", () => {
        this.mapped = !this.mapped;
        map.setAttribute("aria-pressed", String(this.mapped));
        this.draw();
      });
      box.append(original, map);
      this.links = this.row.panes.map((pane) => {
        const words = this.row.panes.length > 1 ? `Save ${pane.title}` : "Save the picture";
        const link = make("a", { textContent: words, download: "" });
        box.append(link);
        return link;
      });
      return box;
    }

    async load(row) {
      await Promise.all(row.panes.flatMap((pane) => pane.pictures.map(async (picture) => {
        const image = new Image();
        image.src = picture.src;
        await image.decode();
        picture.shown = await createImageBitmap(image);
      }))).catch(() => { this.said.textContent = "Some pictures could not be loaded; reload the page."; });
      if (row !== this.row) return;  // another one has come meanwhile
      this.setAttribute("ready", "");
      this.draw();
    }

    // The position that is rendered nearest to a wanted one.
    nearest(wanted) {
      return this.values.map((values, axis) => values.reduce((best, value) =>
        Math.abs(value - wanted[axis]) < Math.abs(best - wanted[axis]) ? value : best));
    }

    move(wanted, held) {
      this.at = this.nearest(wanted);
      places.set(this.row.key, this.at);
      this.draw(held);
    }

    step(axis, by) {
      const values = this.values[axis], wanted = [...this.at];
      const to = Math.min(values.length - 1, Math.max(0, values.indexOf(this.at[axis]) + by));
      wanted[axis] = values[to];
      this.move(wanted);
    }

    key(event) {
      const two = this.row.axes.length === 2;
      const focused = this.shadowRoot.activeElement;
      const axis = Math.max(0, this.ranges.indexOf(focused));
      const onRange = this.ranges.includes(focused);
      const acts = {
        ArrowRight: () => this.step(axis, 1),
        ArrowLeft: () => this.step(axis, -1),
        ArrowUp: () => (two ? this.step(onRange ? axis : 1, 1) : this.person(-1)),
        ArrowDown: () => (two ? this.step(onRange ? axis : 1, -1) : this.person(1)),
        PageUp: () => this.person(-1),
        PageDown: () => this.person(1),
        Home: () => this.move(this.at.map((x, k) => (k === axis ? this.values[k][0] : x))),
        End: () => this.move(this.at.map((x, k) => (k === axis ? this.values[k].at(-1) : x))),
        o: () => this.hold(true),
        O: () => this.hold(true),
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
    }

    person(by) {
      const button = by > 0 ? "next-person" : "previous-person";
      if (this.row.people) document.getElementById(button)?.click();
    }

    hold(on) {
      if (Boolean(this.held) === on) return;
      this.held = on;
      this.draw();
    }

    // Dragging on the picture itself.
    pull(canvas) {
      const to = (event) => {
        const box = canvas.getBoundingClientRect();
        const shares = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
        this.move(this.at.map((x, axis) => {
          const values = this.values[axis];
          return values[0] + Math.min(1, Math.max(0, shares[axis])) * (values.at(-1) - values[0]);
        }));
      };
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        to(event);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (canvas.hasPointerCapture(event.pointerId)) to(event);
      });
    }

    find(pane, at) {
      return pane.pictures.reduce((best, picture) =>
        apart(picture.at, at) < apart(best.at, at) ? picture : best);
    }

    draw(held) {
      const words = [];
      const zero = this.at.map(() => 0);
      this.row.panes.forEach((pane, index) => {
        const original = this.find(pane, zero);
        const picture = this.held ? original : this.find(pane, this.at);
        if (!picture.shown || !original.shown) return;
        const canvas = this.canvases[index], context = canvas.getContext("2d");
        if (canvas.width !== picture.shown.width) {
          canvas.width = picture.shown.width;
          canvas.height = picture.shown.height;
          canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
        }
        context.drawImage(picture.shown, 0, 0);
        picture.change ??= changes(original.shown, picture.shown).change;
        if (this.mapped && !this.held) {
          context.drawImage(changes(original.shown, picture.shown, true).map, 0, 0, canvas.width, canvas.height);
        }
        const share = `the picture differs by ${(100 * picture.change).toFixed(1)} %`;
        const told = [pane.title, share, picture.note].filter(Boolean).join(" · ");
        words.push(this.held ? "The original." : told);
        canvas.setAttribute("aria-label", `${pane.title || "picture"} at ${spell(this.held ? zero : this.at)}`);
        this.links[index].href = picture.src;
        this.links[index].download = picture.src.split("/").at(-1);
      });
      this.ranges.forEach((range, axis) => {
        const at = this.held ? 0 : this.at[axis];
        if (axis !== held) range.value = at;
        range.number.textContent = spell([at]);
        range.setAttribute("aria-valuetext", `${spell([at])}, ${this.row.axes[axis].words}`);
      });
      this.said.replaceChildren(...words.map((text) => make("div", { textContent: text })));
      this.dataset.at = (this.held ? zero : this.at).join(" ");
    }
  }

  // How two pictures differ: root mean square, 1 is black to white; and where, as a picture.
  function changes(one, other, drawn) {
    const side = Math.min(MAP, one.width, one.height);
    const [a, b] = [one, other].map((picture) => {
      const canvas = make("canvas", { width: side, height: side });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0, side, side);
      return context.getImageData(0, 0, side, side).data;
    });
    const out = drawn && new ImageData(side, side);
    let sum = 0;
    for (let i = 0; i < a.length; i += 4) {
      let most = 0;
      for (let c = 0; c < 3; c++) {
        const d = a[i + c] - b[i + c];
        sum += d * d;
        most = Math.max(most, Math.abs(d));
      }
      if (drawn) {
        const gray = 0.25 * (a[i] + a[i + 1] + a[i + 2]) / 3, hot = Math.min(255, LOUD * most);
        out.data.set([Math.min(255, gray + hot), Math.min(255, gray + hot * 0.6), gray, 255], i);
      }
    }
    const change = Math.sqrt(sum / (a.length * 0.75)) / 255;
    if (!drawn) return { change };
    const map = make("canvas", { width: side, height: side });
    map.getContext("2d").putImageData(out, 0, 0);
    return { change, map };
  }

  const apart = (a, b) => a.reduce((sum, x, k) => sum + (x - b[k]) ** 2, 0);
  const spell = (at) => at.map((x) => (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(2).replace(/\.?0+$/, "")).join(" | ") || "0";
  function make(name, values = {}) { return Object.assign(document.createElement(name), values); }

  if (!customElements.get("pairedit-row")) customElements.define("pairedit-row", Row);
  window.pairedit = {
    position: (place) => document.querySelector(`#${place} pairedit-row`)?.position ?? [],
  };
})();
