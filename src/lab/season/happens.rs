//! What is said on one wedding's day: so many broadcasts by its parts, and what goes wrong with the words that follow from it. Pure.

use super::dice::Dice;
use super::draw::{MINUTE, Wedding};
use super::incidents::{Audience, Incident};
use super::model::Season;
use crate::base::clock::Millis;
use crate::model::Priority;

/// A ceremony that is later than this is an incident.
const LATE: Millis = 10 * MINUTE;
/// The 95th percentile of a lognormal lies so many sigmas above its median.
const P95: f64 = 1.645;

#[derive(Clone, Copy, Debug)]
pub struct Happened {
    pub incident: Incident,
    pub at: Millis,
    /// How long it keeps everybody from the network: nothing for all but a power cut.
    pub cut_off: Millis,
}

#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub at: Millis,
    pub priority: Priority,
    pub audience: Audience,
    pub kind: &'static str,
    pub title: &'static str,
    /// What it follows from.
    pub incident: Option<Incident>,
}

impl Wedding {
    /// When it is so many minutes from the ceremony: all that comes after its beginning comes as much later as it does.
    pub fn at(&self, minutes: i64) -> Millis {
        let delay = if minutes > 0 { self.delay } else { 0 };
        self.starts_at + minutes * MINUTE + delay
    }
}

pub fn happen(wedding: &mut Wedding, season: &Season, traffic: f64, dice: &mut Dice) {
    let count = (dice.normal(season.broadcasts.mean, season.broadcasts.sd) * traffic).round();
    let mut said: Vec<Said> = (0..count.max(1.0) as usize)
        .map(|_| routine(wedding, season, dice))
        .collect();
    wedding.incidents = incidents(wedding, season, dice);
    for happened in &wedding.incidents {
        said.extend(happened.incident.words(season.all_clear).into_iter().map(|word| Said {
            at: happened.at + word.after * MINUTE,
            priority: word.priority,
            audience: word.audience,
            kind: word.kind,
            title: word.title,
            incident: Some(happened.incident),
        }));
    }
    said.sort_by_key(|said| said.at);
    wedding.said = said;
}

fn incidents(wedding: &Wedding, season: &Season, dice: &mut Dice) -> Vec<Happened> {
    let mut all = Vec::new();
    if wedding.delay > LATE {
        all.push(Happened {
            incident: Incident::Delay,
            at: wedding.starts_at,
            cut_off: 0,
        });
    }
    for (incident, chance) in &season.incidents {
        if dice.share() >= *chance {
            continue;
        }
        let (from, to) = incident.window(&season.phases);
        let cut = season.power_cut;
        let cut_off = if *incident == Incident::PowerCut {
            let seconds = dice.lognormal(cut.median, (cut.p95 / cut.median).ln() / P95);
            (seconds.clamp(cut.min, cut.p95) * 1_000.0) as Millis
        } else {
            0
        };
        all.push(Happened {
            incident: *incident,
            at: to_second(dice.between(wedding.at(from) as f64, wedding.at(to) as f64)),
            cut_off,
        });
    }
    all
}

/// Venues' clocks show seconds, and so do people's.
fn to_second(at: f64) -> Millis {
    (at / 1_000.0) as Millis * 1_000
}

fn routine(wedding: &Wedding, season: &Season, dice: &mut Dice) -> Said {
    let part = dice.pick(season.parts.iter().map(|(_, _, share)| *share));
    let (from, to) = season.parts.get(part).map_or((0, 0), |(from, to, _)| (*from, *to));
    let at = to_second(dice.between(wedding.at(from) as f64, wedding.at(to) as f64));
    let priority = Priority::ALL[dice.pick(season.mix)];
    let audiences = season.audiences;
    let audience = match dice.pick([audiences.few, audiences.staff, audiences.guests, audiences.everybody]) {
        0 => Audience::Few,
        1 => Audience::Staff,
        2 => Audience::Guests,
        _ => Audience::Everybody,
    };
    let (kind, title) = words(priority, audience);
    Said {
        at,
        priority,
        audience,
        kind,
        title,
        incident: None,
    }
}

fn words(priority: Priority, audience: Audience) -> (&'static str, &'static str) {
    match (priority, audience) {
        (Priority::Critical, Audience::Few | Audience::Staff) => ("coordinator.handoff", "Take over here"),
        (Priority::Critical, Audience::Guests | Audience::Everybody) => ("safety.notice", "For your safety"),
        (Priority::High, _) => ("timeline.changed", "A change of times"),
        (Priority::Normal, Audience::Few | Audience::Staff) => ("cue.call", "You are next"),
        (Priority::Normal, Audience::Guests | Audience::Everybody) => ("guest.guidance", "Where to go now"),
        (Priority::Low, Audience::Few | Audience::Staff) => ("supplier.arrived", "Somebody is here"),
        (Priority::Low, Audience::Guests | Audience::Everybody) => ("guest.guidance", "A tip"),
    }
}

#[cfg(test)]
mod tests {
    use crate::lab::season::calendar::Calendar;
    use crate::lab::season::draw::{MINUTE, Order, draw};
    use crate::lab::season::figures::{Profile, open};
    use crate::lab::season::incidents::Incident;
    use crate::model::Priority;

    #[test]
    fn a_day_is_as_long_as_its_phases_and_incidents_bring_their_words() {
        let season = open(Profile::Published).unwrap();
        let calendar = Calendar::new(&season, &[]);
        let order = Order {
            weddings: 3_000,
            traffic: 1.0,
            seed: 3,
        };
        let all = draw(&season, &calendar, order, || ());
        let mut counts = [0_u32; 4];
        let mut routine = 0_u32;
        for wedding in &all {
            let (first, last) = (
                wedding.at(season.phases.suppliers_in),
                wedding.at(season.phases.load_out),
            );
            // the last words of an incident come up to 45 minutes after it
            let fits = |at: i64| (first..=last + 45 * MINUTE).contains(&at);
            assert!(wedding.said.is_sorted_by_key(|said| said.at) && wedding.said.iter().all(|said| fits(said.at)));
            for happened in &wedding.incidents {
                let words = happened.incident.words(season.all_clear).len();
                let about = wedding
                    .said
                    .iter()
                    .filter(|said| said.incident == Some(happened.incident));
                assert_eq!(about.count(), words, "{:?}", happened.incident);
                assert_eq!(happened.cut_off > 0, happened.incident == Incident::PowerCut);
            }
            assert_eq!(
                wedding
                    .incidents
                    .iter()
                    .any(|happened| happened.incident == Incident::Delay),
                wedding.delay > 10 * MINUTE
            );
            for said in wedding.said.iter().filter(|said| said.incident.is_none()) {
                counts[said.priority.index()] += 1;
                routine += 1;
            }
        }
        for priority in Priority::ALL {
            let share = f64::from(counts[priority.index()]) / f64::from(routine);
            assert!(
                (share - season.mix[priority.index()]).abs() < 0.01,
                "{priority} {share}"
            );
        }
    }
}
