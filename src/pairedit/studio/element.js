// <pairedit-row data='{...}'>: pictures at positions of one or two sliders, shown as one drags.
//
// data: {key, people, axes: [{label, note, words, ticks, start, range}],
//        panes: [{title, pictures: [{at: [x(, y)], src, note}]}]}
// Pictures are fetched and decoded once; a move draws and asks nobody for anything. A row may grow
// while somebody drags: its slider stays where it is held.
(() => {
  "use strict";
  const { style, changes } = window.pairedit;
  const MOST = 80;  // decoded pictures that are kept for the next row
  const decoded = new Map();  // by address
  const PLACES = "pairedit-places";  // where sliders were, by key: the same for another person

  function placesOf() {
    try { return JSON.parse(sessionStorage.getItem(PLACES)) || {}; } catch { return {}; }
  }

  // A slider and a pad of one name have places of their own.
  const nameOf = (row) => `${row.key} ${row.axes.length}`;

  function decode(src) {
    const known = decoded.get(src) || (async () => {
      const image = new Image();
      image.src = src;
      await image.decode();
      return createImageBitmap(image);
    })();
    decoded.delete(src);
    decoded.set(src, known);
    known.catch(() => decoded.delete(src));
    if (decoded.size > MOST) decoded.delete(decoded.keys().next().value);
    return known;
  }

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
      const text = this.getAttribute("data");
      if (text === this.text) return;
      this.text = text;
      const row = JSON.parse(text), shape = JSON.stringify([row.key, row.axes, row.panes.map((p) => p.title)]);
      this.removeAttribute("ready");
      if (shape !== this.shape) {
        this.shape = shape;
        this.row = row;
        this.held = this.mapped = false;
        this.build(this.shadowRoot);
      }
      this.load(row);
    }

    get position() { return this.at; }

    build(root) {
      const { axes, panes } = this.row;
      const two = axes.length === 2;
      const focused = (this.ranges || []).indexOf(root.activeElement);
      const whole = make("div", { className: panes.length > 1 ? "whole several" : "whole" });
      root.replaceChildren(make("style", { textContent: style }), whole);
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
      const controls = make("div", { className: "controls" });
      whole.append(frame, controls);
      const both = make("div", { className: "both" }), sliders = make("div", { className: "axes" });
      this.ranges = axes.map((axis, index) => this.axis(sliders, axis, index));
      this.pad = two && make("div", { className: "pad", title: `${axes[0].label} across, ${axes[1].label} up` });
      if (two) this.pull(this.pad);
      both.append(sliders, ...(two ? [this.pad] : []));
      this.said = make("div", { className: "said" });
      this.said.setAttribute("aria-live", "polite");
      const change = this.row.people ? ", " + (two ? "Page Up and Page Down" : "up and down")
        + " change the person" : "";
      const move = two ? "Arrow keys move" : "Left and right move";
      controls.append(both, this.said, this.tools(), make("div", { className: "keys",
        textContent: `Keys: ${move.toLowerCase()}${change}; hold O for the original.` }));
      // Whoever has changed the slider by a key goes on with the keys.
      this.ranges[focused]?.focus({ preventScroll: true });
    }

    axis(root, axis, index) {
      const [low, high] = axis.range;
      const box = make("div", { className: "axis" });
      const head = make("div", { className: "head" });
      const number = make("output"), name = make("div");
      name.append(make("b", { textContent: axis.label }), make("small", { textContent: axis.note }));
      head.append(name, number);
      const range = make("input", { type: "range", min: low, max: high, step: "any" });
      range.setAttribute("aria-label", `${axis.label} (${axis.note})`);
      range.addEventListener("input", () => {
        const wanted = [...this.at];
        wanted[index] = Number(range.value);
        this.move(wanted, index);
      });
      range.addEventListener("change", () => this.draw());
      const marks = make("div", { className: "marks" });
      box.append(head, range, marks);
      root.append(box);
      return Object.assign(range, { number, marks });
    }

    // Dots where pictures are, and words below some of them.
    mark(range, axis, values) {
      const [low, high] = axis.range;
      const share = (at) => (high > low ? (at - low) / (high - low) : 0);
      const dots = values.map((at) => {
        const dot = make("i");
        dot.style.left = `${100 * share(at)}%`;
        return dot;
      });
      const words = axis.ticks.filter(([at]) => at >= low && at <= high && high > low).map(([at, text]) => {
        const tick = make("span", { textContent: text });
        tick.style.left = `${100 * share(at)}%`;
        // Words at the ends stay inside.
        if (share(at) < 0.1) Object.assign(tick.style, { left: "-10px", transform: "none" });
        if (share(at) > 0.9) Object.assign(tick.style, { left: "calc(100% + 10px)", transform: "translateX(-100%)" });
        return tick;
      });
      range.marks.replaceChildren(...dots, ...words);
    }

    tools() {
      const box = make("div", { className: "tools" });
      const original = make("button", { type: "button", textContent: "Hold for original" });
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
      this.links = this.row.panes.map((pane, k) => {
        const words = this.row.panes.length > 1 ? `Save picture ${k + 1}` : "Save the picture";
        return make("a", { textContent: words, download: "" });
      });
      box.append(original, map, ...this.links);
      return box;
    }

    async load(row) {
      this.wanted = row;
      const pictures = row.panes.flatMap((pane) => pane.pictures);
      try {
        const shown = await Promise.all(pictures.map((picture) => decode(picture.src)));
        shown.forEach((bitmap, k) => { pictures[k].shown = bitmap; });
      } catch {
        if (row === this.wanted) this.said.textContent = "Some pictures could not be loaded; reload the page.";
        return;
      }
      if (row !== this.wanted) return;  // another one has come meanwhile
      this.row = row;
      this.values = row.axes.map((_, axis) =>
        [...new Set(pictures.map((picture) => picture.at[axis]))].sort((a, b) => a - b));
      this.ranges.forEach((range, axis) => this.mark(range, row.axes[axis], this.values[axis]));
      if (this.pad) this.dot();
      this.at = this.nearest(placesOf()[nameOf(row)] || row.axes.map((axis) => axis.start));
      this.draw(this.ranges.findIndex((range) => range.matches(":active")));
      this.setAttribute("ready", "");
    }

    // The pad: a dot for each picture, and a handle.
    dot() {
      const dots = this.row.panes[0].pictures.map((picture) => this.put(make("i"), picture.at));
      this.handle = make("u");
      this.pad.replaceChildren(...dots, this.handle);
    }

    put(node, at) {
      const [x, y] = at.map((value, k) => {
        const [low, high] = this.row.axes[k].range;
        return 8 + 84 * (high > low ? (value - low) / (high - low) : 0);
      });
      node.style.left = `${x}%`;
      node.style.top = `${100 - y}%`;
      return node;
    }

    // The position that is rendered nearest to a wanted one.
    nearest(wanted) {
      return this.values.map((values, axis) => values.reduce((best, value) =>
        Math.abs(value - wanted[axis]) < Math.abs(best - wanted[axis]) ? value : best));
    }

    move(wanted, held) {
      this.at = this.nearest(wanted);
      try {
        sessionStorage.setItem(PLACES, JSON.stringify({ ...placesOf(), [nameOf(this.row)]: this.at }));
      } catch { /* then a reload begins at the start */ }
      this.draw(held);
    }

    step(axis, by) {
      const values = this.values[axis], wanted = [...this.at];
      const to = Math.min(values.length - 1, Math.max(0, values.indexOf(this.at[axis]) + by));
      wanted[axis] = values[to];
      this.move(wanted);
    }

    key(event) {
      if (!this.at) return;
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
      if (Boolean(this.held) === on || !this.at) return;
      this.held = on;
      this.draw();
    }

    // Dragging on the picture itself, or on the pad.
    pull(node) {
      const to = (event) => {
        if (!this.at) return;
        const box = node.getBoundingClientRect();
        const shares = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
        this.move(this.at.map((x, axis) => {
          const [low, high] = this.row.axes[axis].range;
          const share = node === this.pad ? (shares[axis] - 0.08) / 0.84 : shares[axis];
          return low + Math.min(1, Math.max(0, share)) * (high - low);
        }));
      };
      node.addEventListener("pointerdown", (event) => {
        node.setPointerCapture(event.pointerId);
        to(event);
      });
      node.addEventListener("pointermove", (event) => {
        if (node.hasPointerCapture(event.pointerId)) to(event);
      });
    }

    find(pane, at) {
      return pane.pictures.reduce((best, picture) =>
        apart(picture.at, at) < apart(best.at, at) ? picture : best);
    }

    draw(held) {
      if (!this.at) return;
      const words = [];
      const zero = this.at.map(() => 0);
      const shown = this.held ? zero : this.at;
      this.row.panes.forEach((pane, index) => {
        const original = this.find(pane, zero);
        const picture = this.find(pane, shown);
        const canvas = this.canvases[index], context = canvas.getContext("2d");
        if (canvas.width !== picture.shown.width || canvas.height !== picture.shown.height) {
          canvas.width = picture.shown.width;
          canvas.height = picture.shown.height;
          canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
        }
        context.drawImage(picture.shown, 0, 0);
        picture.change ??= changes(original.shown, picture.shown).change;
        if (this.mapped && !this.held) {
          context.drawImage(changes(original.shown, picture.shown, true).map, 0, 0, canvas.width, canvas.height);
        }
        const share = `The picture differs by ${(100 * picture.change).toFixed(1)} % from the original.`;
        const told = picture === original ? "This is the original." : share;
        words.push(this.row.panes.length > 1 ? `${index + 1}: ${told}` : told);
        if (picture.note && picture !== original) words.push(picture.note);
        canvas.setAttribute("aria-label", `${pane.title || "picture"} at ${spell(shown)}`);
        this.links[index].href = picture.src;
        this.links[index].download = picture.src.split("/").at(-1);
      });
      this.ranges.forEach((range, axis) => this.turn(range, axis, shown[axis], axis === held));
      if (this.handle) this.put(this.handle, shown);
      this.said.replaceChildren(...words.map((text) => make("div", { textContent: text })));
      this.dataset.at = shown.join(" ");
    }

    // Bring a slider to a position; not its thumb while that is held. It is filled from 0 on.
    turn(range, axis, at, held) {
      if (!held) range.value = at;
      const [low, high] = this.row.axes[axis].range;
      const value = Number(range.value), share = (x) => (high > low ? (x - low) / (high - low) : 0);
      const [from, to] = [share(Math.min(high, Math.max(low, 0))), share(value)].sort((a, b) => a - b);
      // A background of a width is moved by its share of what is left.
      range.style.setProperty("--far", `${100 * (to - from)}%`);
      range.style.setProperty("--from", `${to - from < 1 ? 100 * from / (1 - to + from) : 0}%`);
      range.number.textContent = spell([at]);
      range.setAttribute("aria-valuetext", `${spell([at])}, ${this.row.axes[axis].words}`);
    }
  }

  const apart = (a, b) => a.reduce((sum, x, k) => sum + (x - b[k]) ** 2, 0);
  const spell = (at) => at.map((x) => (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(2).replace(/\.?0+$/, "")).join(" | ") || "0";
  function make(name, values = {}) { return Object.assign(document.createElement(name), values); }

  if (!customElements.get("pairedit-row")) customElements.define("pairedit-row", Row);
  window.pairedit.position = (place) => document.querySelector(`#${place} pairedit-row`)?.position ?? [];
})();
