// Reads out curves under the pointer. Without it nothing is missing but that.
'use strict';
for (const svg of document.querySelectorAll('svg.plot')) {
  const [left, top, width, height] = svg.dataset.area.split(' ').map(Number);
  const value = (range, part) => {
    const [low, high, log] = range.split(' ');
    return log ? low * (high / low) ** part : +low + (high - low) * part;
  };
  const round = v => String(+v.toPrecision(4));
  const curves = [...svg.querySelectorAll('.line[data-name]')].map(path => ({
    name: path.dataset.name,
    points: path.getAttribute('d').slice(1).split('L').map(p => p.split(' ').map(Number)),
  }));
  const cursor = svg.querySelector('.cursor');
  const box = document.createElement('div');
  box.className = 'readout';
  const leave = () => { cursor.replaceChildren(); box.remove(); };
  svg.addEventListener('pointerleave', leave);
  svg.addEventListener('pointermove', event => {
    const frame = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / frame.width;
    const x = (event.clientX - frame.left) * scale;
    if (left > x || x > left + width) return leave();
    const near = points => points.reduce((a, b) => Math.abs(a[0] - x) > Math.abs(b[0] - x) ? b : a);
    const rows = curves.map(c => [c.name, near(c.points)]).sort((a, b) => a[1][1] - b[1][1]);
    const at = rows[0][1][0];
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    for (const [key, v] of Object.entries({x1: at, x2: at, y1: top, y2: top + height})) line.setAttribute(key, v);
    cursor.replaceChildren(line);
    box.textContent = [svg.dataset.axis + ' ' + round(value(svg.dataset.x, (at - left) / width))]
      .concat(rows.map(([name, [, y]]) => round(value(svg.dataset.y, (top + height - y) / height)) + '  ' + name)).join('\n');
    svg.parentNode.append(box);
    const right = at / scale + 12;
    box.style.left = (right + box.offsetWidth > frame.width ? at / scale - 12 - box.offsetWidth : right) + 'px';
  });
}
