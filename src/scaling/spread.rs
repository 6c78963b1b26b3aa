//! Which cells move where when the number of threads changes: as few as needed for an even load.

/// Moves that bring every cell to a thread below `threads` and even out what the threads hold. `owners[cell]` is the thread that
/// has a cell, `weights[cell]` its sessions; a cell counts for one more than that, so that empty ones are spread too. `threads`
/// is at least 1.
pub fn moves(owners: &[usize], weights: &[usize], threads: usize) -> Vec<(usize, usize)> {
    let threads = threads.max(1);
    let weight = |cell: usize| weights.get(cell).copied().unwrap_or(0) + 1;
    let mut held = vec![Vec::new(); threads];
    let mut loads = vec![0usize; threads];
    let mut homeless = Vec::new();
    for (cell, owner) in owners.iter().enumerate() {
        match (held.get_mut(*owner), loads.get_mut(*owner)) {
            (Some(cells), Some(load)) => {
                cells.push(cell);
                *load += weight(cell);
            }
            (_, _) => homeless.push(cell),
        }
    }
    let mut moves = Vec::new();
    homeless.sort_by_key(|cell| (std::cmp::Reverse(weight(*cell)), *cell));
    for cell in homeless {
        let to = lightest(&loads);
        give(&mut loads, to, weight(cell));
        moves.push((cell, to));
    }
    // Each step takes from the fullest what brings it and the emptiest closer together; a cell moves once at most.
    for _ in 0..owners.len() {
        let (from, to) = (fullest(&loads), lightest(&loads));
        let gap = loads
            .get(from)
            .zip(loads.get(to))
            .map_or(0, |(full, light)| full - light);
        let cells = held.get(from).map(Vec::as_slice).unwrap_or_default();
        let fits = cells.iter().copied().filter(|cell| weight(*cell) < gap);
        // the cell nearest to half of the gap evens out most
        let Some(cell) = fits.min_by_key(|cell| ((weight(*cell) * 2).abs_diff(gap), *cell)) else {
            break;
        };
        held.iter_mut().for_each(|cells| cells.retain(|held| *held != cell));
        give(&mut loads, to, weight(cell));
        loads.get_mut(from).into_iter().for_each(|load| *load -= weight(cell));
        moves.push((cell, to));
    }
    moves
}

fn give(loads: &mut [usize], to: usize, weight: usize) {
    loads.get_mut(to).into_iter().for_each(|load| *load += weight);
}

fn lightest(loads: &[usize]) -> usize {
    (0..loads.len()).min_by_key(|at| (loads.get(*at), *at)).unwrap_or(0)
}

fn fullest(loads: &[usize]) -> usize {
    (0..loads.len())
        .max_by_key(|at| (loads.get(*at), std::cmp::Reverse(*at)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::moves;

    /// Moves, as `cell>thread`; and what each thread holds afterwards is no further apart than one cell.
    fn check(owners: &[usize], weights: &[usize], threads: usize, expected: &str) {
        let made = moves(owners, weights, threads);
        let text: Vec<String> = made.iter().map(|(cell, to)| format!("{cell}>{to}")).collect();
        assert_eq!(text.join(" "), expected, "{owners:?} {weights:?} over {threads}");
        let mut after = owners.to_vec();
        for (cell, to) in made {
            assert_ne!(after[cell], to, "a move to where it is");
            after[cell] = to;
        }
        assert!(after.iter().all(|owner| *owner < threads));
        let load = |thread| -> usize {
            let mine = (0..after.len()).filter(|cell| after[*cell] == thread);
            mine.map(|cell| weights[cell] + 1).sum()
        };
        let loads: Vec<usize> = (0..threads).map(load).collect();
        let most = weights.iter().max().map_or(1, |weight| weight + 1);
        assert!(
            loads.iter().max().unwrap() - loads.iter().min().unwrap() <= most,
            "{loads:?}"
        );
    }

    #[test]
    fn what_is_even_stays_and_what_is_not_is_evened_out() {
        check(&[0, 1, 0, 1], &[5, 5, 5, 5], 2, "");
        check(&[0, 0, 0, 0], &[5, 5, 5, 5], 2, "0>1 1>1");
        check(&[0, 0, 0, 0], &[0, 0, 0, 0], 4, "0>1 1>2 2>3");
        check(&[0, 0, 1], &[9, 1, 0], 2, "1>1");
        check(&[0, 1, 2, 0, 1, 2], &[3, 3, 3, 3, 3, 3], 2, "2>0 5>1");
        check(&[2, 2, 2], &[8, 1, 1], 1, "0>0 1>0 2>0");
        check(&[], &[], 3, "");
    }

    #[test]
    fn many_cells_over_any_number_of_threads_end_up_even() {
        let weights: Vec<usize> = (0..64usize).map(|cell| cell * 7919 % 301).collect();
        let mut owners = vec![0; 64];
        for threads in [1, 2, 3, 8, 20, 50, 20, 5, 1] {
            for (cell, to) in moves(&owners, &weights, threads) {
                owners[cell] = to;
            }
            let mut loads = vec![0; threads];
            owners
                .iter()
                .zip(&weights)
                .for_each(|(owner, weight)| loads[*owner] += weight + 1);
            let gap = loads.iter().max().unwrap() - loads.iter().min().unwrap();
            assert!(gap <= 301, "over {threads}: {loads:?}");
        }
    }
}
