// One broadcast: its ladder as it fills, what it still needs, what was done for want of it, and who is missing and why.

import { announce, by, keep, make, mark, part, say, show, these } from './dom.js';
import { bar, fillBar, missing, tag } from './list.js';
import { clock, count, exact, people, problem, spaced } from './words.js';
import { showPeople } from './people.js';
import * as node from './node.js';

const STEPS = [
  ['sent', 'Sent'],
  ['received', 'Received'],
  ['read', 'Read'],
  ['acknowledged', 'Confirmed'],
];
// People are asked for again when something has changed, and in any case after so many looks: sessions come and go.
const LOOKS = 5;
// How far it is, for those who hear the page: not more often than one can listen to.
const SPEAK_EVERY = 10_000;

let open = null;

export function start(mayPublish) {
  const dialog = by('detail');
  by('detail-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', leave);
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
  by('cancel').addEventListener('click', () => (show(by('cancel-sure'), true), by('cancel-no').focus()));
  by('cancel-no').addEventListener('click', () => (show(by('cancel-sure'), false), by('cancel').focus()));
  by('cancel-yes').addEventListener('click', cancel);
  by('redeliver').addEventListener('click', redeliver);
  addEventListener('hashchange', () => followHash(mayPublish));
  followHash(mayPublish);
}

export function followHash(mayPublish) {
  const id = new URLSearchParams(location.hash.slice(1)).get('broadcast');
  const dialog = by('detail');
  if (!id) {
    if (dialog.open) dialog.close();
    return;
  }
  if (open?.id === id) return;
  open = { id, looks: 0, seen: '', mayPublish, isBusy: false, speakAt: 0 };
  say(by('detail-title'), 'Looking');
  these('detail-body', 'detail-facts', 'detail-problem', 'ladder-more', 'people-note', 'deeds-note').forEach((text) =>
    say(text, ''),
  );
  these('ladder', 'needs', 'steps', 'people', 'detail-tags').forEach((list) => list.replaceChildren());
  these('cancel-sure', 'deeds-section', 'needs-section', 'steps-section').forEach((section) => show(section, false));
  if (!dialog.open) dialog.showModal();
  by('detail-title').focus();
  look();
}

function leave() {
  open = null;
  if (location.hash.includes('broadcast=')) history.replaceState(null, '', location.pathname);
}

// Called with each board; nothing happens while no broadcast is open.
export async function look() {
  const now = open;
  if (!now || now.isBusy) return;
  now.isBusy = true;
  const answer = await node.get(`/v1/broadcasts/${encodeURIComponent(now.id)}`);
  if (open === now && answer.ok) {
    showBroadcast(answer.data);
    const seen = JSON.stringify([answer.data.counts, answer.data.status, answer.data.answers]);
    now.looks += 1;
    if (seen !== now.seen || now.looks >= LOOKS) {
      await showPeople(answer.data, () => open === now);
      Object.assign(now, { seen, looks: 0 });
    }
  } else if (open === now) {
    say(by('detail-title'), answer.status === 404 ? 'There is no such broadcast' : by('detail-title').textContent);
    say(by('detail-problem'), problem(answer.data));
  }
  now.isBusy = false;
}

function showBroadcast(broadcast) {
  const { counts } = broadcast;
  const asks = Boolean(broadcast.acknowledge);
  keep(
    by('detail-tags'),
    [broadcast.priority, broadcast.drill && 'drill', broadcast.status].filter(Boolean),
    (word) => word,
    (word) => (word === broadcast.priority ? tag(word) : make('span', { class: `tag ${word === 'drill' ? 'drill' : ''}` }, word)),
    () => {},
  );
  say(by('detail-title'), broadcast.title);
  say(by('detail-body'), broadcast.body);
  say(
    by('detail-facts'),
    [
      broadcast.type,
      `by ${broadcast.sender}`,
      broadcast.released_at ? `out ${exact(broadcast.released_at)}` : `goes out ${exact(broadcast.deliver_at)}`,
      `matters until ${clock(broadcast.expires_at)}`,
    ].join(' · '),
  );
  say(by('detail-problem'), '');
  ladder(broadcast, asks);
  const meant = Math.max(counts.targeted - counts.skipped, 0);
  const row = {
    ...broadcast,
    not_confirmed: asks ? Math.max(meant - counts.acknowledged, 0) : null,
    not_received: Math.max(meant - counts.received, 0),
  };
  const told = missing(row);
  say(by('people-title'), asks ? 'Who has not confirmed' : 'Who does not have it');
  if (broadcast.status === 'released' && Date.now() >= open.speakAt) {
    open.speakAt = Date.now() + SPEAK_EVERY;
    announce(`${broadcast.title}: ${told}`);
  }
  needs(broadcast.needs ?? []);
  steps(broadcast);
  deeds(broadcast);
}

function ladder(broadcast, asks) {
  const { counts, times } = broadcast;
  const shown = STEPS.filter(([step]) => asks || step !== 'acknowledged' || counts.acknowledged > 0);
  keep(
    by('ladder'),
    [['targeted', 'Meant'], ...shown],
    ([step]) => step,
    () =>
      make(
        'li',
        {},
        make('span', { 'data-part': 'name' }),
        bar(),
        make('strong', { 'data-part': 'count' }),
        make('span', { class: 'hint', 'data-part': 'time' }),
      ),
    (item, [step, name]) => {
      const only = { targeted: counts.targeted, sent: 0, received: 0, read: 0, acknowledged: 0 };
      only[step === 'targeted' ? 'sent' : step] = counts[step];
      fillBar(part(item, 'bar'), only);
      say(part(item, 'name'), name);
      say(part(item, 'count'), count(counts[step]));
      say(part(item, 'time'), times[step] ? `${exact(times[step].first)} to ${exact(times[step].last)}` : '');
    },
  );
  const beside = ['held', 'skipped', 'failed', 'expired']
    .filter((word) => counts[word] > 0)
    .map((word) => `${count(counts[word])} ${word}`);
  const answers = Object.entries(broadcast.answers).map(([answer, number]) => `${number} said ${answer}`);
  say(by('ladder-more'), [...answers, ...beside].join(' · '));
}

function needs(list) {
  show(by('needs-section'), list.length > 0);
  keep(
    by('needs'),
    list,
    (need) => need.role,
    () => make('li', {}, make('span', { 'data-part': 'name' }), make('span', { class: 'value', 'data-part': 'value' })),
    (item, need) => {
      mark(item, 'data-state', need.met ? 'ok' : 'attention');
      say(part(item, 'name'), spaced(need.role));
      say(part(item, 'value'), `${need.confirmed} of ${need.count} confirmed${need.met ? '' : ', not enough'}`);
    },
  );
}

// Those that were taken, and those to come.
function steps(broadcast) {
  const planned = broadcast.acknowledge?.escalate ?? [];
  show(by('steps-section'), planned.length > 0);
  const items = planned.map((plan, index) => ({ index, plan, taken: broadcast.escalations.find((step) => step.step === index) }));
  keep(
    by('steps'),
    items,
    (item) => item.index,
    () => make('li', {}, make('p', { 'data-part': 'what' }), make('p', { class: 'hint', 'data-part': 'calls' })),
    (item, { plan, taken }) => {
      mark(item, 'data-state', taken ? 'taken' : 'open');
      const widened = taken?.widened ? `, ${count(taken.widened)} of them new` : '';
      say(
        part(item, 'what'),
        taken
          ? `${exact(taken.at)}: ${people(taken.alerted)} asked again${widened}`
          : `${plan.after} after it went out${broadcast.status === 'released' ? ', if it is still needed' : ': not taken'}`,
      );
      const calls = taken
        ? taken.outputs.map((call) => `${call.output} ${spaced(call.state)}`)
        : (plan.outputs ?? []).map((output) => `calls ${output}`);
      say(part(item, 'calls'), calls.join(' · '));
    },
  );
}

function deeds(broadcast) {
  const { counts, status } = broadcast;
  const isOn = ['scheduled', 'released', 'completed'].includes(status);
  const isLetter = status !== 'scheduled' && status !== 'cancelled' && counts.failed + counts.expired > 0;
  show(by('deeds-section'), open?.mayPublish() && (isOn || isLetter));
  show(by('cancel'), isOn);
  show(by('redeliver'), isLetter);
  if (!isOn) show(by('cancel-sure'), false);
}

async function cancel() {
  show(by('cancel-sure'), false);
  await deed('cancel', undefined, () => 'It is called off.');
}

async function redeliver() {
  await deed(
    'redeliver',
    {},
    (told) => `Delivered once more to ${people(told.redelivered)}${told.held ? `, ${count(told.held)} held` : ''}.`,
  );
}

async function deed(verb, body, words) {
  const now = open;
  if (!now) return;
  now.key ??= node.key();
  const answer = await node.call(
    'POST',
    `/v1/broadcasts/${encodeURIComponent(now.id)}/${verb}`,
    body,
    verb === 'redeliver' ? { 'idempotency-key': now.key } : {},
  );
  if (open !== now) return;
  if (answer.status !== 0 && answer.status < 500) now.key = undefined;
  const text = answer.ok ? words(answer.data) : problem(answer.data);
  say(by('deeds-note'), text);
  announce(text, !answer.ok);
  look();
}
