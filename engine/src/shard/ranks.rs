//! How many of a growing list of numbers come before one of them, while others are taken out.

/// Numbers in ascending order, each of which can be taken out, and the rank of any of them in logarithmic time: a Fenwick
/// tree over all that were added, taken out or not. When more than half were taken out, they are forgotten.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ranks {
    /// Everything added, in order.
    added: Vec<u64>,
    /// At index i the count of those still there among the last `lowest_bit(i + 1)` up to and with i.
    sums: Vec<u32>,
    len: usize,
}

/// How many numbers the sum at this position, counted from 1, covers.
fn lowest_bit(position: usize) -> usize {
    position & position.wrapping_neg()
}

impl Ranks {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a number beyond all that were ever added.
    pub(crate) fn push(&mut self, number: u64) {
        assert!(self.added.last().is_none_or(|&last| last < number), "{number} came late");
        self.added.push(number);
        let position = self.added.len();
        let (mut sum, mut below) = (1, position - 1);
        while below > position - lowest_bit(position) {
            sum += self.sums[below - 1];
            below -= lowest_bit(below);
        }
        self.sums.push(sum);
        self.len += 1;
    }

    /// Takes out a number; it must be there.
    pub(crate) fn remove(&mut self, number: u64) {
        let mut position = self.added.binary_search(&number).expect("the caller knows that it is there") + 1;
        while position <= self.sums.len() {
            self.sums[position - 1] -= 1;
            position += lowest_bit(position);
        }
        self.len -= 1;
        if self.len < self.added.len() / 2 {
            let left: Vec<u64> = self.iter().collect();
            *self = Self::default();
            left.into_iter().for_each(|number| self.push(number));
        }
    }

    /// How many of those still there are lower than this number.
    pub(crate) fn before(&self, number: u64) -> u64 {
        self.among_first(self.added.partition_point(|&other| other < number))
    }

    /// How many of the first so many ever added are still there.
    fn among_first(&self, mut count: usize) -> u64 {
        let mut sum = 0;
        while count > 0 {
            sum += u64::from(self.sums[count - 1]);
            count -= lowest_bit(count);
        }
        sum
    }

    /// Those still there, in order.
    fn iter(&self) -> impl Iterator<Item = u64> {
        let is_there = |index: &usize| self.among_first(index + 1) > self.among_first(*index);
        (0..self.added.len()).filter(is_there).map(|index| self.added[index])
    }
}

/// What was taken out makes no difference.
impl PartialEq for Ranks {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for Ranks {}

#[cfg(test)]
mod tests {
    use super::Ranks;

    #[test]
    fn ranks_are_those_of_a_sorted_list() {
        let mut ranks = Ranks::default();
        let mut list: Vec<u64> = Vec::new();
        let mut dice = 1_u64;
        for step in 1..=4_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // It grows for long, then shrinks to nothing, over and over.
            let grows = step % 1_000 < 600;
            if list.is_empty() || (dice >> 33) % 8 < if grows { 6 } else { 1 } {
                list.push(step * 3);
                ranks.push(step * 3);
            } else {
                let index = (dice >> 40) as usize % list.len();
                ranks.remove(list.remove(index));
            }
            assert_eq!(ranks.len(), list.len());
            assert!(ranks.added.len() <= 2 * list.len() + 1, "those taken out are forgotten");
            for number in [0, 1, dice % (step * 3 + 2), step * 3, u64::MAX] {
                let before = list.iter().filter(|&&other| other < number).count() as u64;
                assert_eq!(ranks.before(number), before, "before {number} after {step} steps");
            }
        }
        let mut same = Ranks::default();
        list.iter().for_each(|&number| same.push(number));
        assert_eq!(ranks, same);
        same.push(u64::MAX);
        assert_ne!(ranks, same);
    }
}
