//! How many sessions a node asks to move to the others.

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

#[cfg(test)]
mod tests {
    use super::leaving;

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
