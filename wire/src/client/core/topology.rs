//! What is known of the cluster's shape. One member is talked to now; the epoch that each frame
//! carries is kept all the same, so that a router finds it here.

/// The newest epoch that any member spoke of.
#[derive(Debug, Default)]
pub struct Topology {
    epoch: u32,
}

impl Topology {
    /// The epoch for the header of each frame; 0: none is known.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Takes the epoch of a frame: the low half of a number that only grows, so that half its
    /// range ahead is newer and half behind is older. 0 says nothing.
    pub fn learn(&mut self, epoch: u32) {
        let ahead = epoch.wrapping_sub(self.epoch);
        if epoch != 0 && (self.epoch == 0 || ahead < 1 << 31) {
            self.epoch = epoch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_epoch_stays_and_wraps() {
        let mut topology = Topology::default();
        let heard = [0, 7, 3, 0, 9, 8, u32::MAX, 0x8000_0000, u32::MAX, 2, u32::MAX];
        let known: Vec<u32> = heard
            .iter()
            .map(|epoch| {
                topology.learn(*epoch);
                topology.epoch()
            })
            .collect();
        let newest = [0, 7, 7, 7, 9, 9, 9, 0x8000_0000, u32::MAX, 2, 2];
        assert_eq!(known, newest);
    }
}
