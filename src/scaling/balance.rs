//! How many sessions a node asks to move to the others: because it is much fuller than they are, or because it has all of the
//! people who run a wedding, who would all be gone for a moment if it failed.

use std::time::Duration;

/// A node is much fuller than the mean when it has this many times as many sessions ...
const MEAN_TIMES: f64 = 1.5;
/// ... and so many more: among few sessions chance makes larger differences.
const MEAN_MORE: f64 = 100.0;

/// Sessions that are asked to move now. `own` and `others` count users with a session, `others` of the nodes that answer;
/// `critical` releases wait: nobody is sent away then. No more than `most` at a time.
pub fn leaving(own: u64, others: &[u64], critical: u64, most: usize) -> usize {
    if others.is_empty() || critical > 0 {
        return 0;
    }
    let all = own + others.iter().sum::<u64>();
    let mean = all as f64 / (others.len() + 1) as f64;
    let limit = (mean * MEAN_TIMES).max(mean + MEAN_MORE);
    let over = (own as f64 - limit).ceil().max(0.0);
    most.min(over as usize)
}

/// With fewer people of a wedding's staff there is nothing to spread.
const CREW_MIN: u64 = 3;
/// They are not asked again for so long: some clients know only one node.
pub const CREW_REST: Duration = Duration::from_secs(600);

/// A wedding's staff who have a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crew {
    /// On this node.
    pub here: u64,
    /// On another one.
    pub elsewhere: u64,
    /// How long ago some of them were asked to move.
    pub asked: Option<Duration>,
}

/// How many of a wedding's staff are asked to move now, so that not all of them are here: a node's share, as long as `others` answer
/// and no critical waits; `most` at a time.
pub fn crew_leaving(crew: Crew, others: usize, critical: u64, most: usize) -> usize {
    let rests = crew.asked.is_some_and(|ago| ago < CREW_REST);
    let alone = crew.elsewhere == 0 && crew.here >= CREW_MIN;
    if others == 0 || critical > 0 || rests || !alone {
        return 0;
    }
    let share = crew.here / (others as u64 + 1);
    most.min(usize::try_from(share.max(1)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::{CREW_REST, Crew, crew_leaving, leaving};
    use std::time::Duration;

    #[test]
    fn a_weddings_staff_is_not_left_on_one_node() {
        let crew = |here: u64, elsewhere: u64| Crew {
            here,
            elsewhere,
            asked: None,
        };
        for (crew, others, critical, most, expected) in [
            (crew(0, 0), 2, 0, 20, 0),
            (crew(2, 0), 2, 0, 20, 0),
            (crew(3, 0), 2, 0, 20, 1),
            (crew(9, 0), 2, 0, 20, 3),
            (crew(4, 0), 5, 0, 20, 1),
            // one elsewhere is enough to go on with
            (crew(9, 1), 2, 0, 20, 0),
            // nowhere to go, or not now
            (crew(9, 0), 0, 0, 20, 0),
            (crew(9, 0), 2, 1, 20, 0),
            (crew(90, 0), 2, 0, 20, 20),
            (crew(90, 0), 2, 0, 0, 0),
        ] {
            let found = crew_leaving(crew, others, critical, most);
            assert_eq!(found, expected, "{crew:?}, {others} others, critical {critical}");
        }
        let again = |asked: Duration| {
            let asked = Some(asked);
            crew_leaving(Crew { asked, ..crew(9, 0) }, 2, 0, 20)
        };
        assert_eq!((again(CREW_REST / 2), again(CREW_REST)), (0, 3));
    }

    #[test]
    fn only_a_node_that_is_much_fuller_sends_away_and_only_what_is_too_much() {
        for (own, others, critical, most, expected) in [
            (500, &[][..], 0, 20, 0),
            (0, &[0, 0], 0, 20, 0),
            // far more than the others, but few
            (140, &[0, 0], 0, 20, 0),
            (151, &[0, 0], 0, 20, 1),
            (300, &[0, 0], 0, 20, 20),
            // the mean is 1,000: 1,500 is the limit
            (1_500, &[750, 750], 0, 20, 0),
            (1_506, &[747, 747], 0, 20, 6),
            (1_506, &[747, 747], 1, 20, 0),
            (9_000, &[0], 0, 50, 50),
            (9_000, &[0], 0, 0, 0),
            (10, &[9_000], 0, 50, 0),
        ] {
            assert_eq!(
                leaving(own, others, critical, most),
                expected,
                "{own} beside {others:?}, critical {critical}"
            );
        }
    }

    #[test]
    fn sending_away_comes_to_an_end() {
        let mut nodes = [9_000u64, 0, 0];
        for _ in 0..10_000 {
            let left = leaving(nodes[0], &nodes[1..], 0, 20) as u64;
            if left == 0 {
                break;
            }
            nodes[0] -= left;
            nodes[1] += left.div_ceil(2);
            nodes[2] += left / 2;
        }
        assert_eq!(nodes[0], 4_500, "half as many again as the mean");
        assert!(nodes[1..].iter().all(|node| leaving(*node, &[nodes[0]], 0, 20) == 0));
    }
}
