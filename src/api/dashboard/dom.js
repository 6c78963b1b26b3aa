// The page's own small tools. Whatever comes from people is put in as text: nothing here takes HTML.

// A test looks that every id which is named here, in quotes, is on the page.
export const by = (id) => document.getElementById(id);
export const these = (...ids) => ids.map(by);

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') element.setAttribute('class', value);
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// An element with attributes, listeners (`onclick`) and children; texts become text nodes.
export const make = (tag, properties = {}, ...children) => fill(document.createElement(tag), properties, children);

export const draw = (tag, properties = {}, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

// Touches the page only where something is different: what stands still is not read out again, and keeps its selection.
export function say(element, text) {
  const wanted = String(text ?? '');
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function show(element, isShown) {
  if (element.hidden === Boolean(isShown)) element.hidden = !isShown;
}

export function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Keeps a child for each item, in order: known ones are updated in place, so that focus and scroll stay where they are.
export function keep(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    update(child, item);
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== child) parent.insertBefore(child, place);
    before = child;
  }
  known.forEach((child) => child.remove());
}

// The part of an element that has this name.
export const part = (element, name) => element.querySelector(`[data-part="${name}"]`);

// Rows of facts: a name, and what it comes to.
export function facts(list, items) {
  keep(
    list,
    items,
    (item) => item[0],
    () => make('li', {}, make('span', { 'data-part': 'name' }), make('span', { class: 'value', 'data-part': 'value' })),
    (row, [name, value, state]) => {
      say(part(row, 'name'), name);
      say(part(row, 'value'), value);
      mark(row, 'data-state', state ?? '');
    },
  );
}

// Rows with a bar under them: a name, how full it is from 0 to 1, and that in words.
export function meters(list, items) {
  keep(
    list,
    items,
    (item) => item[0],
    () =>
      make(
        'li',
        {},
        make('span', { 'data-part': 'name' }),
        make('span', { class: 'value', 'data-part': 'value' }),
        make('div', { class: 'meter', 'aria-hidden': 'true' }, make('span', { 'data-part': 'fill' })),
      ),
    (row, [name, share, value, state]) => {
      say(part(row, 'name'), name);
      say(part(row, 'value'), value);
      part(row, 'fill').style.width = `${(100 * Math.min(share, 1)).toFixed(1)}%`;
      mark(row, 'data-state', state ?? '');
    },
  );
}

let spoken = '';

// For those who hear the page: what has changed and matters, once.
export function announce(text, isUrgent = false) {
  if (text === spoken) return;
  spoken = text;
  by(isUrgent ? 'assertive' : 'polite').textContent = text;
}
