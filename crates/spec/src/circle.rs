//! Machines that wait for each other, and so for ever.
//!
//! What waits for nothing that is left is taken away (Kahn's algorithm) until only circles and what leads to them are left; walking along
//! any entry from there must come round. Each entry is looked at twice, and once more for each walk over it: two counts of hundreds of
//! machines have hundreds of thousands.

use std::collections::HashMap;

use crate::depend::Waits;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::name::Name;

/// Reports each circle once, at the entry of its first machine.
pub(crate) fn report(names: &[&Name], resolved: &[Waits], report: &mut Report) {
    let mut left = Left::of(names, resolved);
    let mut start = 0;
    while start < names.len() {
        if !left.is_there[start] {
            start += 1;
            continue;
        }
        let circle = left.circle_from(start);
        report.push(diagnostic(names, &circle));
        for (machine, _) in &circle {
            left.take_away(*machine);
        }
    }
}

/// What is left of the machines and of their entries.
struct Left<'s> {
    entries: Vec<Vec<(usize, &'s Span)>>,
    /// The first entry of each machine that may lead to one that is left: those before never will again.
    next: Vec<usize>,
    /// Who waits for each, once for each entry.
    waited_by: Vec<Vec<usize>>,
    /// Entries of each that lead to what is left.
    pending: Vec<usize>,
    is_there: Vec<bool>,
}

impl<'s> Left<'s> {
    /// All machines, but for those that come to be started.
    fn of(names: &[&Name], resolved: &'s [Waits]) -> Self {
        let mut places: HashMap<&Name, usize> = HashMap::new();
        for (place, name) in names.iter().enumerate() {
            places.entry(name).or_insert(place);
        }
        let placed = |all: &'s Waits| {
            let entries = all.iter();
            let entries = entries.filter_map(|(wanted, span)| Some((*places.get(&wanted.machine)?, span)));
            entries.collect::<Vec<_>>()
        };
        let entries: Vec<_> = resolved.iter().map(placed).collect();
        let mut waited_by = vec![Vec::new(); names.len()];
        for (machine, all) in entries.iter().enumerate() {
            for (other, _) in all {
                waited_by[*other].push(machine);
            }
        }
        let pending: Vec<usize> = entries.iter().map(Vec::len).collect();
        let free: Vec<usize> = (0..names.len())
            .filter(|machine| pending[*machine] == 0)
            .collect();
        let mut left = Self {
            entries,
            next: vec![0; names.len()],
            waited_by,
            pending,
            is_there: vec![true; names.len()],
        };
        for machine in free {
            left.take_away(machine);
        }
        left
    }

    /// Takes one away, and what then waits for nothing that is left.
    fn take_away(&mut self, machine: usize) {
        let mut gone = vec![machine];
        while let Some(machine) = gone.pop() {
            if !std::mem::take(&mut self.is_there[machine]) {
                continue;
            }
            for waiting in std::mem::take(&mut self.waited_by[machine]) {
                self.pending[waiting] -= 1;
                if self.pending[waiting] == 0 {
                    gone.push(waiting);
                }
            }
        }
    }

    /// A circle that is come upon from here, beginning at its machine that comes first in the file; each with the entry that leads on.
    fn circle_from(&mut self, start: usize) -> Vec<(usize, &'s Span)> {
        let mut way: Vec<(usize, &Span)> = Vec::new();
        let mut steps: HashMap<usize, usize> = HashMap::new();
        let mut at = start;
        loop {
            if let Some(first) = steps.insert(at, way.len()) {
                let mut circle = way.split_off(first);
                let least = circle.iter().enumerate().min_by_key(|(_, (machine, _))| *machine);
                let turn = least.map_or(0, |(index, _)| index);
                circle.rotate_left(turn);
                return circle;
            }
            let Some((other, span)) = self.entry_on(at) else {
                return way;
            };
            way.push((at, span));
            at = other;
        }
    }

    /// The first entry of a machine that leads to one that is left.
    fn entry_on(&mut self, machine: usize) -> Option<(usize, &'s Span)> {
        loop {
            let entry = *self.entries[machine].get(self.next[machine])?;
            if self.is_there[entry.0] {
                return Some(entry);
            }
            self.next[machine] += 1;
        }
    }
}

fn diagnostic(names: &[&Name], circle: &[(usize, &Span)]) -> Diagnostic {
    let name = |(machine, _): &(usize, &Span)| names.get(*machine).map_or("", |name| name.as_str());
    let mut chain: Vec<&str> = circle.iter().map(name).collect();
    let first = chain.first().copied().unwrap_or_default();
    let (title, hint) = if chain.len() == 1 {
        (
            format!("machine {first:?} waits for itself"),
            "a machine is started once all that it depends on holds: take this entry out".to_owned(),
        )
    } else {
        chain.push(first);
        (
            format!("machines wait for each other: {}", chain.join(" -> ")),
            "one of them must be started first: take one of these entries out".to_owned(),
        )
    };
    let mut spans = circle.iter().map(|(_, span)| (*span).clone());
    let mut diagnostic = Diagnostic::new(title, spans.next().unwrap_or(0..0)).with_hint(hint);
    for (index, span) in spans.enumerate() {
        if let Some(pair) = chain.get(index + 1..index + 3) {
            diagnostic = diagnostic.and(span, format!("{} waits for {}", pair[0], pair[1]));
        }
    }
    diagnostic
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::depend::{Condition, Dependency};

    fn named(number: usize) -> Name {
        format!("m{number}").parse().unwrap()
    }

    fn waits(all: &[usize]) -> Waits {
        let of = |number: &usize| Dependency {
            machine: named(*number),
            condition: Condition::Ready,
            interval: None,
            deadline: None,
        };
        all.iter().map(|number| (of(number), 0..0)).collect()
    }

    /// All circles that are told, of machines that wait for these numbers.
    fn circles(graph: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let names: Vec<Name> = (0..graph.len()).map(named).collect();
        let names: Vec<&Name> = names.iter().collect();
        let resolved: Vec<Waits> = graph.iter().map(|all| waits(all)).collect();
        let mut left = Left::of(&names, &resolved);
        let mut found = Vec::new();
        while let Some(start) = left.is_there.iter().position(|it| *it) {
            let circle: Vec<usize> = left.circle_from(start).iter().map(|(at, _)| *at).collect();
            for machine in &circle {
                left.take_away(*machine);
            }
            found.push(circle);
        }
        found
    }

    #[test]
    fn a_long_chain_into_circles_leaves_the_circles() {
        let mut graph: Vec<Vec<usize>> = (0..1000).map(|at| vec![at + 1]).collect();
        graph.extend([vec![1001, 1003], vec![1000], vec![1001], vec![1003]]);
        assert_eq!(circles(&graph), [vec![1000, 1001], vec![1003]]);
    }

    proptest! {
        #[test]
        fn circles_are_real_and_nothing_waits_for_ever_without_them(
            graph in (1..12_usize).prop_flat_map(|count| prop::collection::vec(prop::collection::vec(0..count, 0..4), count)),
        ) {
            let found = circles(&graph);
            for circle in &found {
                for (at, machine) in circle.iter().enumerate() {
                    prop_assert!(graph[*machine].contains(&circle[(at + 1) % circle.len()]));
                    prop_assert!(*machine >= circle[0]);
                }
            }
            // Round after round, what waits for nothing that is left is started; machines of circles count as started.
            let mut started = vec![false; graph.len()];
            found.concat().into_iter().for_each(|machine| started[machine] = true);
            for _ in 0..graph.len() {
                for (machine, all) in graph.iter().enumerate() {
                    started[machine] |= all.iter().all(|other| started[*other]);
                }
            }
            prop_assert!(started.iter().all(|it| *it), "{found:?}");
        }
    }
}
