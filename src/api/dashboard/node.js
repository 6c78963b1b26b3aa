// The way to a node: requests, and the stream of what the page shows. When the node is lost, the others are tried; the page
// stays open meanwhile.

const TOKEN = 'campanile.token';
const NODES = 'campanile.nodes';
// The stream says something every second: without a word for this long the node counts as lost.
const SILENCE_MAX = 3500;
const ANSWER_WITHIN = 2500;
const PAUSE_FIRST = 250;
const PAUSE_LONGEST = 4000;

const home = location.origin;
let base = home;
let others = remembered();
let running = null;

// The other nodes' addresses outlive a reload of the page, not the tab.
function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(NODES)) ?? [];
  } catch {
    return [];
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? '',
  set: (text) => sessionStorage.setItem(TOKEN, text),
  forget: () => sessionStorage.removeItem(TOKEN),
};

export const at = () => base;
export const isHome = () => base === home;

export function know(urls) {
  others = urls;
  sessionStorage.setItem(NODES, JSON.stringify(urls));
}

function headers(more) {
  const known = token.get();
  return known ? { ...more, authorization: `Bearer ${known}` } : more;
}

// A name that no other request has. (`crypto.randomUUID` is not there on plain HTTP.)
export const key = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

// Answers `{ok, status, data}`; what went wrong on the way is a problem, too.
export async function call(method, path, body, more = {}) {
  const sent = body === undefined ? {} : { 'content-type': 'application/json' };
  try {
    const response = await fetch(base + path, {
      method,
      headers: headers({ accept: 'application/json', ...sent, ...more }),
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
    });
    const text = await response.text();
    const data = text && (response.headers.get('content-type') ?? '').includes('json') ? JSON.parse(text) : text;
    return { ok: response.ok, status: response.status, data };
  } catch {
    return { ok: false, status: 0, data: { title: 'The node did not answer.' } };
  }
}

export const get = (path) => call('GET', path);

// Reads events until the stream ends; throws when it breaks, or falls silent.
async function read(url, tell, leave) {
  const silence = new AbortController();
  leave.addEventListener('abort', () => silence.abort(), { once: true, signal: silence.signal });
  let timer = setTimeout(() => silence.abort(), ANSWER_WITHIN);
  try {
    const response = await fetch(`${url}/v1/dashboard`, {
      headers: headers({ accept: 'text/event-stream' }),
      cache: 'no-store',
      signal: silence.signal,
    });
    if (!response.ok) {
      const problem = await response.json().catch(() => ({}));
      return { refused: response.status, problem };
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MAX);
      const { value, done } = await reader.read();
      if (done) return {};
      const events = (rest + value).split('\n\n');
      rest = events.pop();
      for (const event of events) {
        const [name, data] = event.split('\n').map((line) => line.slice(line.indexOf(': ') + 2));
        tell(name, JSON.parse(data), url);
      }
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

const pause = (wait, leave) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, wait);
    leave.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });

// Follows one node, and the next one when it is lost, until told to stop. `on` hears of boards, of losses, and of a token that
// is asked for.
export function follow(on) {
  running?.abort();
  const leave = new AbortController();
  running = leave;
  run(on, leave.signal);
}

export const stop = () => running?.abort();

async function run(on, leave) {
  let wait = PAUSE_FIRST;
  while (!leave.aborted) {
    const tried = base;
    let heard = false;
    let ended = {};
    let reason = '';
    const tell = (name, data, url) => {
      if (name === 'goodbye') reason = data.reason;
      // an old board must not look like a live one
      if (name === 'problem') throw new Error(data.title);
      if (leave.aborted || name !== 'board') return;
      heard = true;
      wait = PAUSE_FIRST;
      on.board(data, url);
    };
    try {
      ended = await read(tried, tell, leave);
    } catch {
      ended = {};
    }
    if (leave.aborted) return;
    if (ended.refused === 401 || ended.refused === 403) {
      on.asked(ended.refused, ended.problem);
      return;
    }
    on.lost(tried, others, ended.problem?.title ?? reason);
    base = next(tried);
    if (!heard) {
      await pause(wait, leave);
      wait = Math.min(wait * 2, PAUSE_LONGEST);
    }
  }
}

// Round and round: where the page came from, then the other nodes.
function next(tried) {
  const all = [...new Set([home, tried, ...others])].sort();
  return all[(all.indexOf(tried) + 1) % all.length];
}
