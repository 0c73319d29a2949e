// window.pairedit.changes(one, other, drawn): how two pictures differ.
//
// change: root mean square, 1 is black to white; map: where, as a picture, if it is to be drawn.
(() => {
  "use strict";
  const MAP = 256;  // px that it is computed at
  const LOUD = 2;  // times that a change is amplified in the map

  window.pairedit.changes = (one, other, drawn) => {
    const side = Math.min(MAP, one.width, one.height);
    const [a, b] = [one, other].map((picture) => {
      const canvas = canvasOf(side);
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
    const map = canvasOf(side);
    map.getContext("2d").putImageData(out, 0, 0);
    return { change, map };
  };

  const canvasOf = (side) =>
    Object.assign(document.createElement("canvas"), { width: side, height: side });
})();
