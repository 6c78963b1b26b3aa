// Sending: to whom, what, how urgent. One may look first who would get it; a critical one has to be meant.

import { announce, by, make, say, show } from './dom.js';
import { count, people, problem, spaced } from './words.js';
import { addClause, audience, suggest } from './audience.js';
import * as node from './node.js';

const PRIORITIES = [
  ['critical', 'sounds, stays, passes quiet hours'],
  ['high', 'soon'],
  ['normal', 'as usual'],
  ['low', 'when there is time'],
];
const TYPES = [
  'venue.notice',
  'venue.evacuation',
  'weather.warning',
  'weather.notice',
  'timeline.changed',
  'timeline.milestone',
  'transport.update',
  'cue.call',
  'guest.guidance',
  'catering.update',
  'medical.assist',
  'security.alert',
  'person.missing',
  'wedding.emergency',
  'wedding.cancelled',
  'coordinator.handoff',
  'supplier.update',
  'system.notice',
];
const BODY_MAX = { critical: 360 };
const BODY_USUAL = 1000;

let key = null;
let keyOf = '';
let sent = null;

export function start() {
  const dialog = by('publish');
  by('new-broadcast').addEventListener('click', open);
  by('publish-close').addEventListener('click', () => dialog.close());
  by('add-clause').addEventListener('click', () => addClause().querySelector('input').focus());
  by('asks').addEventListener('change', () => show(by('asking'), by('asks').checked));
  // Whoever sends something critical wants to know who has seen it.
  by('priorities').addEventListener('change', () => {
    if (priority() === 'critical') by('asks').checked = true;
    show(by('asking'), by('asks').checked);
  });
  by('look').addEventListener('click', look);
  by('publish-form').addEventListener('submit', (event) => (event.preventDefault(), send()));
  by('publish-form').addEventListener('input', changed);
  // Enter in a field publishes nothing: only the button does.
  by('publish-form').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && event.target instanceof HTMLInputElement) event.preventDefault();
  });
  by('types').append(...TYPES.map((type) => make('option', { value: type })));
  by('priorities').append(
    ...PRIORITIES.map(([name, about]) =>
      make(
        'label',
        { class: `choice ${name}` },
        make('input', { type: 'radio', name: 'priority', value: name, checked: name === 'normal' }),
        make('span', {}, make('strong', {}, name), make('small', {}, about)),
      ),
    ),
  );
}

const priority = () => new FormData(by('publish-form')).get('priority');

function open() {
  if (by('clauses').children.length === 0) addClause();
  changed();
  by('publish').showModal();
  by('publish-title').focus();
  suggest();
}

// What was looked at is not what would be sent any more.
function changed() {
  by('dry').replaceChildren();
  const most = BODY_MAX[priority()] ?? BODY_USUAL;
  const left = most - [...by('body').value].length;
  say(by('body-left'), left < 0 ? `${count(-left)} characters too many` : `${count(left)} characters left`);
  show(by('sure'), priority() === 'critical');
  by('send').classList.toggle('danger', priority() === 'critical');
}

function draft() {
  const told = {
    type: by('type').value.trim(),
    priority: priority(),
    audience: audience(),
    title: by('title').value,
    body: by('body').value,
  };
  if (by('drill').checked) told.drill = true;
  const seconds = Number(by('expires').value);
  if (seconds > 0) told.expires_at = new Date(Date.now() + seconds * 1000).toISOString();
  if (by('asks').checked) {
    const answers = by('answers')
      .value.split(',')
      .map((answer) => answer.trim())
      .filter(Boolean);
    told.acknowledge = { within: by('within').value, answers };
  }
  return told;
}

function complain(text) {
  say(by('publish-problem'), '');
  say(by('publish-problem'), text);
}

async function look() {
  complain('');
  const answer = await node.call('POST', '/v1/broadcasts?dry_run=true', draft());
  if (!answer.ok) {
    by('dry').replaceChildren();
    complain(problem(answer.data));
    return;
  }
  dry(answer.data);
}

// Who would get it now, and who would not and why.
function dry(told) {
  const reasons = Object.entries(told.reasons ?? {}).filter(([, number]) => number > 0);
  const named = told.not_reached ?? [];
  const more = told.not_reached_more ?? 0;
  by('dry').replaceChildren(
    make(
      'p',
      {},
      make('strong', {}, `${people(told.targeted)} would get it`),
      `, ${count(told.connected)} of them are connected now.`,
    ),
    told.unknown > 0 ? make('p', {}, `${people(told.unknown)} named here are not known.`) : '',
    reasons.length > 0
      ? make(
          'ul',
          { class: 'facts' },
          reasons.map(([reason, number]) =>
            make('li', {}, make('span', {}, spaced(reason)), make('span', { class: 'value' }, count(number))),
          ),
        )
      : '',
    named.length > 0
      ? make(
          'details',
          {},
          make('summary', {}, 'Who would not be reached now'),
          make(
            'ul',
            { class: 'names' },
            named.map((person) =>
              make(
                'li',
                {},
                make('strong', {}, person.user),
                ` ${person.roles.map(spaced).join(', ')}: ${spaced(person.reason ?? person.state)}`,
              ),
            ),
          ),
          more > 0 ? make('p', { class: 'hint' }, `and ${count(more)} more`) : '',
        )
      : '',
  );
}

async function send() {
  complain('');
  const wanted = draft();
  if (wanted.priority === 'critical' && by('sure-word').value.trim().toLowerCase() !== 'critical') {
    complain('It is critical: type the word to send it.');
    by('sure-word').focus();
    return;
  }
  // The same draft keeps its key: sending it again after a broken connection cannot publish it twice.
  const text = JSON.stringify({ ...wanted, expires_at: by('expires').value });
  if (text !== keyOf) [key, keyOf, sent] = [node.key(), text, wanted];
  by('send').disabled = true;
  const answer = await node.call('POST', '/v1/broadcasts', sent, { 'idempotency-key': key });
  by('send').disabled = false;
  if (!answer.ok) {
    if (answer.status !== 0 && answer.status < 500) keyOf = '';
    complain(problem(answer.data));
    return;
  }
  keyOf = '';
  clear();
  by('publish').close();
  announce(`Published to ${people(answer.data.targeted)}.`);
  location.hash = `broadcast=${answer.data.id}`;
}

function clear() {
  by('publish-form').reset();
  by('clauses').replaceChildren();
  show(by('asking'), false);
  changed();
}
