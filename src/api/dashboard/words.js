// Figures, times and reasons in words.

const whole = new Intl.NumberFormat('en');
const one = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const minute = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const second = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short' });

export const count = (number) => (number === null || number === undefined ? '–' : whole.format(number));
export const people = (number) => `${count(number)} ${number === 1 ? 'person' : 'people'}`;

// A figure a second, short enough to be read from afar.
export const rate = (number) => `${number > 0 && number < 10 ? one.format(number) : count(Math.round(number))}/s`;

export function millis(number) {
  if (number === null || number === undefined) return '–';
  if (number >= 10_000) return `${count(Math.round(number / 1000))} s`;
  if (number >= 1_000) return `${one.format(number / 1000)} s`;
  return number >= 10 ? `${Math.round(number)} ms` : `${one.format(number)} ms`;
}

export function span(seconds) {
  if (seconds < 1) return millis(seconds * 1000);
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

export const percent = (share) => (share === null || share === undefined ? '–' : `${one.format(share * 100)} %`);

export function bytes(number) {
  const step = number >= 2 ** 30 ? 3 : number >= 2 ** 20 ? 2 : number >= 2 ** 10 ? 1 : 0;
  return `${one.format(number / 2 ** (10 * step))} ${['B', 'KiB', 'MiB', 'GiB'][step]}`;
}

export const weekday = (at) => day.format(new Date(at));

const isToday = (at) => new Date(at).toDateString() === new Date().toDateString();

// The clock on the reader's wall, with the day where it is not today.
export const clock = (at) => `${isToday(at) ? '' : `${day.format(new Date(at))}, `}${minute.format(new Date(at))}`;
export const exact = (at) => `${isToday(at) ? '' : `${day.format(new Date(at))}, `}${second.format(new Date(at))}`;

// The clock on the wall of a place.
export function there(at, timezone, withDay) {
  const format = { hour: '2-digit', minute: '2-digit', timeZone: timezone };
  if (withDay) Object.assign(format, { weekday: 'short', day: 'numeric', month: 'short' });
  try {
    return new Intl.DateTimeFormat('en-GB', format).format(new Date(at));
  } catch {
    return clock(at);
  }
}

export const spaced = (word) => String(word).replaceAll('_', ' ');

// What a problem of the API says, with what is wrong where.
export function problem(told) {
  const faults = (told.errors ?? []).map((fault) => `${fault.pointer}: ${fault.detail}`);
  return faults.length > 1 ? `${told.title}. ${faults.join('; ')}` : (told.detail ?? told.title ?? 'It did not work.');
}

// Groups of recipients by what to do about them, the most urgent first; the same as `campanile who` has.
export const GROUPS = [
  ['answered', 'Said something other than ok'],
  ['not_connected', 'Not connected'],
  ['not_received', 'Connected, not received'],
  ['not_confirmed', 'Received, not confirmed'],
  ['held', 'Held by quiet hours'],
  ['expired', 'Expired before they were done'],
  ['failed', 'Failed'],
  ['skipped', 'Skipped by their own preferences'],
];

const isAway = (person) => ['no_session', 'offline_since'].includes(person.reason) || Boolean(person.since);

export function group(person, asks) {
  switch (person.state) {
    case 'acknowledged':
      return person.answer && person.answer !== 'ok' ? 'answered' : 'done';
    case 'received':
    case 'read':
      return asks ? 'not_confirmed' : 'done';
    case 'held':
    case 'skipped':
    case 'expired':
    case 'failed':
      return person.state;
    default:
      return isAway(person) ? 'not_connected' : 'not_received';
  }
}

function reason(person) {
  const at = person.at ? ` ${exact(person.at)}` : '';
  switch (person.state === 'acknowledged' ? 'acknowledged' : (person.reason ?? '')) {
    case 'acknowledged':
      return `${person.answer && person.answer !== 'ok' ? `said ${person.answer}` : 'confirmed'}${at}${person.late ? ', late' : ''}`;
    case 'offline_since':
      return `no session${person.since ? ` since ${clock(person.since)}` : ''}`;
    case 'no_session':
      return 'no session so far';
    case 'quiet_hours':
      return `quiet hours${person.until ? ` until ${clock(person.until)}` : ''}`;
    case 'muted_category':
      return 'mutes this category';
    case 'critical_only':
      return 'takes critical ones only';
    case 'expired':
      return 'nothing went out in time';
    case 'sent_not_received':
      return `sent${at}, not received`;
    case 'not_acknowledged':
      return `${person.state === 'read' ? 'read' : 'received'}${at}, not confirmed`;
    case 'received_not_read':
      return `received${at}`;
    case '':
      return person.state === 'targeted' ? 'nothing sent yet' : `${person.state}${at}`;
    default:
      return spaced(person.reason);
  }
}

export function why(person) {
  const isTold = person.reason === 'offline_since' || !person.since;
  return reason(person) + (isTold ? '' : `, no session since ${clock(person.since)}`);
}
