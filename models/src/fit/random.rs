//! numpy's and scikit-learn's generators, so that a seed draws here what it draws there.
//!
//! With them a forest of the same `random_state` has the same bootstrap samples and compares the same features as
//! scikit-learn's, which makes tests of whole forests possible. Neither is meant for secrets.

/// `numpy.random.RandomState`: MT19937 (Matsumoto and Nishimura, 1998; `numpy/random/src/mt19937`).
pub(super) struct RandomState {
    words: Box<[u32; WORDS]>,
    next: usize,
}

const WORDS: usize = 624;
const MIDDLE: usize = 397;

impl RandomState {
    pub(super) fn new(seed: u32) -> Self {
        let mut words = Box::new([0; WORDS]);
        let mut word = seed;
        for (place, slot) in (1_u32..).zip(words.iter_mut()) {
            *slot = word;
            word = (word ^ (word >> 30)).wrapping_mul(1_812_433_253).wrapping_add(place);
        }
        Self { words, next: WORDS }
    }

    fn refill(&mut self) {
        for place in 0..WORDS {
            let joined = (self.words[place] & 0x8000_0000) | (self.words[(place + 1) % WORDS] & 0x7fff_ffff);
            let twist = if joined & 1 == 0 { 0 } else { 0x9908_b0df };
            self.words[place] = self.words[(place + MIDDLE) % WORDS] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }

    fn word(&mut self) -> u32 {
        if self.next >= WORDS {
            self.refill();
        }
        let mut word = self.words[self.next % WORDS];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// `randint(0, end)`: bits beyond the range are masked, and what is still beyond it is drawn again.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        let largest = end.saturating_sub(1);
        if largest == 0 {
            return 0;
        }
        let mask = u32::MAX >> largest.leading_zeros();
        loop {
            let word = self.word() & mask;
            if word <= largest {
                return word;
            }
        }
    }

    /// `random_sample()`: 53 bits from 0 to below 1.
    pub(super) fn fraction(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// A seed for a tree or for what a tree draws: `randint(0, 2³¹ − 1)`.
    pub(super) fn seed(&mut self) -> u32 {
        self.below(i32::MAX.cast_unsigned())
    }
}

/// The generator inside of a tree (`our_rand_r`, `sklearn/utils/_random.pxd`; Marsaglia, 2003).
#[derive(Debug, Clone)]
pub(super) struct XorShift(u32);

impl XorShift {
    pub(super) fn new(seed: u32) -> Self {
        Self(seed.max(1))
    }

    /// A number from `low` to below `high`.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        low + (self.0 & i32::MAX.cast_unsigned()) as usize % (high - low).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_what_numpy_draws() {
        // numpy.random.RandomState(42).randint(0, 2**31 - 1, 3), then .random_sample(2)
        let mut random = RandomState::new(42);
        assert_eq!(
            [random.seed(), random.seed(), random.seed()],
            [1_608_637_542, 1_273_642_419, 1_935_803_228]
        );
        assert_eq!(
            [random.fraction(), random.fraction()],
            [0.183_434_789_866_163_8, 0.779_691_000_272_769_3]
        );
        // numpy.random.RandomState(7).randint(0, 100, 1000)[-3:]
        let mut random = RandomState::new(7);
        let drawn: Vec<u32> = (0..1000).map(|_| random.below(100)).collect();
        assert_eq!(drawn[997..], [88, 44, 72]);
    }
}
