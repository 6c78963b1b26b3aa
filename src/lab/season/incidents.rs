//! What goes wrong at weddings, and what is said of it: each kind has the part of the day in which it happens, and broadcasts that follow.

use super::model::Phases;
use crate::model::Priority;
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Incident {
    SupplierLate,
    SupplierNoShow,
    /// The ceremony begins more than ten minutes late.
    Delay,
    WeatherMove,
    LightningHold,
    FirstAid,
    Hospital,
    MissingChild,
    PowerCut,
    Handoff,
    Evacuation,
    /// The origin's only kind.
    Emergency,
}

/// Whom a broadcast is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// The coordinator and a handful with her.
    Few,
    Staff,
    Guests,
    Everybody,
}

/// What is said, so many minutes after it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    pub after: i64,
    pub priority: Priority,
    pub audience: Audience,
    /// The broadcast's type.
    pub kind: &'static str,
    pub title: &'static str,
}

const fn word(after: i64, priority: Priority, audience: Audience, kind: &'static str, title: &'static str) -> Word {
    Word {
        after,
        priority,
        audience,
        kind,
        title,
    }
}

impl Incident {
    pub const ALL: [Self; 12] = [
        Self::SupplierLate,
        Self::SupplierNoShow,
        Self::Delay,
        Self::WeatherMove,
        Self::LightningHold,
        Self::FirstAid,
        Self::Hospital,
        Self::MissingChild,
        Self::PowerCut,
        Self::Handoff,
        Self::Evacuation,
        Self::Emergency,
    ];

    /// As the figures name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SupplierLate => "supplier_late",
            Self::SupplierNoShow => "supplier_no_show",
            Self::Delay => "ceremony_delay_over_10_min",
            Self::WeatherMove => "weather_move",
            Self::LightningHold => "lightning_hold",
            Self::FirstAid => "first_aid",
            Self::Hospital => "hospital",
            Self::MissingChild => "missing_child",
            Self::PowerCut => "power_cut",
            Self::Handoff => "coordinator_handoff",
            Self::Evacuation => "evacuation",
            Self::Emergency => "emergency",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|incident| incident.name() == name)
    }

    /// From when to when it can happen, in minutes from the ceremony.
    pub fn window(self, phases: &Phases) -> (i64, i64) {
        match self {
            Self::SupplierLate | Self::SupplierNoShow => (phases.suppliers_in, phases.guests_in),
            Self::Delay => (phases.ceremony, phases.ceremony),
            Self::WeatherMove => (phases.weather_decision, phases.guests_in),
            Self::LightningHold | Self::FirstAid | Self::Hospital | Self::Evacuation | Self::Emergency => {
                (phases.guests_in, phases.send_off)
            }
            Self::MissingChild => (phases.drinks, phases.send_off),
            Self::PowerCut | Self::Handoff => (phases.suppliers_in, phases.send_off),
        }
    }

    /// Everything that is said of it, in its order. `all_clear` are the minutes until people may leave shelter.
    pub fn words(self, all_clear: i64) -> Vec<Word> {
        use Audience::{Everybody, Few, Guests, Staff};
        use Priority::{Critical, High, Low, Normal};
        match self {
            Self::SupplierLate => vec![
                word(0, High, Staff, "supplier.late", "A supplier is late"),
                word(45, Low, Few, "supplier.arrived", "The supplier is here"),
            ],
            Self::SupplierNoShow => vec![
                word(0, High, Staff, "supplier.no_show", "A supplier is not coming"),
                word(20, High, Staff, "timeline.changed", "What we do instead"),
            ],
            Self::Delay => vec![word(0, High, Everybody, "timeline.changed", "We start a little later")],
            Self::WeatherMove => vec![
                word(0, High, Everybody, "weather.change", "We move inside"),
                word(30, Normal, Guests, "guest.guidance", "Where to sit now"),
            ],
            Self::LightningHold => vec![
                word(0, Critical, Everybody, "weather.warning", "Lightning: go inside now"),
                word(all_clear / 2, High, Everybody, "weather.change", "Stay inside"),
                word(all_clear, High, Everybody, "weather.all_clear", "All clear"),
            ],
            Self::FirstAid => vec![
                word(0, Critical, Few, "medical.assist", "First aid is needed"),
                word(10, Normal, Few, "medical.assist", "First aid is there"),
            ],
            Self::Hospital => vec![
                word(0, Critical, Few, "medical.assist", "An ambulance is called"),
                word(8, High, Staff, "transport.update", "Keep the drive free"),
            ],
            Self::MissingChild => vec![
                word(0, Critical, Staff, "person.missing", "A child is missing"),
                word(12, High, Staff, "person.missing", "The child is found"),
            ],
            Self::PowerCut => vec![
                word(1, High, Staff, "ops.power", "The power is out"),
                word(10, Normal, Staff, "ops.power", "What works without power"),
            ],
            Self::Handoff => vec![word(
                0,
                Critical,
                Few,
                "coordinator.handoff",
                "Somebody else coordinates now",
            )],
            Self::Evacuation => vec![
                word(0, Critical, Everybody, "venue.evacuation", "Leave the building now"),
                word(5, Critical, Staff, "safety.headcount", "Count your people"),
                word(40, High, Everybody, "safety.all_clear", "You may go back in"),
            ],
            Self::Emergency => vec![
                word(0, Critical, Everybody, "wedding.emergency", "Emergency"),
                word(10, High, Everybody, "safety.all_clear", "The emergency is over"),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Incident;
    use crate::model::Priority;

    #[test]
    fn each_kind_has_words_that_follow_one_another_and_a_name_of_its_own() {
        for incident in Incident::ALL {
            let words = incident.words(30);
            assert!(
                !words.is_empty() && words.is_sorted_by_key(|word| word.after),
                "{incident:?}"
            );
            assert_eq!(Incident::named(incident.name()), Some(incident));
        }
        let hold: Vec<(i64, Priority)> = Incident::LightningHold
            .words(30)
            .iter()
            .map(|word| (word.after, word.priority))
            .collect();
        assert_eq!(
            hold,
            [(0, Priority::Critical), (15, Priority::High), (30, Priority::High)]
        );
    }
}
