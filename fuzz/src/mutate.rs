//! Mutations of an input: deterministic, from a seed.

/// A small generator (xorshift64*, Vigna 2016): good enough to choose mutations, the same everywhere.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator whose sequence is fixed by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed ^ 0x9e37_79b9_7f4a_7c15 | 1,
        }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.next_u64() >> 11) % bound).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next_u64().to_le_bytes()[7]
    }
}

/// Values at which lengths, offsets and counts go wrong.
const EDGES: [u8; 8] = [0, 1, 0x3f, 0x7f, 0x80, 0xc0, 0xfe, 0xff];

/// The longest input that mutations make.
pub const MAX_LEN: usize = 8192;

/// A changed copy of one of `corpus`: one to eight small changes.
pub fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = pick(corpus, random).to_vec();
    for _ in 0..=random.below(8) {
        change(&mut input, corpus, random);
    }
    input.truncate(MAX_LEN);
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], random: &mut Random) -> &'a [u8] {
    corpus.get(random.below(corpus.len())).map_or(&[], Vec::as_slice)
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len());
    let end = (at + 1 + random.below(16)).min(input.len());
    match random.below(8) {
        0 => set(input, at, |byte| byte ^ (1 << (at % 8))),
        1 => {
            let value = random.byte();
            set(input, at, |_| value);
        }
        2 => {
            let value = EDGES[random.below(EDGES.len())];
            set(input, at, |_| value);
        }
        3 => set(input, at, |byte| byte.wrapping_add(1)),
        4 => input.insert(at, random.byte()),
        5 => drop(input.drain(at.min(end)..end)),
        6 => {
            let copy = input.get(at..end).unwrap_or_default().to_vec();
            let to = random.below(input.len());
            input.splice(to..to, copy);
        }
        _ => {
            let other = pick(corpus, random);
            let from = random.below(other.len());
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
    }
}

fn set(input: &mut [u8], at: usize, value: impl Fn(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = value(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LEN, Random, mutate};

    fn mutations(seed: u64, corpus: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut random = Random::new(seed);
        (0..500).map(|_| mutate(corpus, &mut random)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_mutations() {
        let corpus = [b"some input".to_vec(), b"another".to_vec()];
        assert_eq!(mutations(7, &corpus), mutations(7, &corpus));
        assert_ne!(mutations(7, &corpus), mutations(8, &corpus));
    }

    #[test]
    fn an_empty_corpus_still_gives_inputs() {
        assert!(mutations(1, &[]).iter().any(|input| !input.is_empty()));
        assert!(mutations(1, &[Vec::new()]).iter().any(|input| !input.is_empty()));
    }

    #[test]
    fn inputs_stay_below_the_bound() {
        let corpus = [vec![0; MAX_LEN]];
        assert!(mutations(3, &corpus).iter().all(|input| input.len() <= MAX_LEN));
    }
}
