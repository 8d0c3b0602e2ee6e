//! What an allocation really costs. The account charges what the allocator gives, not what was
//! asked for, so that a limit in bytes is a limit on memory.

/// The allocator that the process runs on; the binary knows, the engine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocator {
    /// jemalloc: four size classes between powers of two, 16-byte steps up to 128.
    #[default]
    Jemalloc,
    /// glibc malloc: 8 bytes of header, 16-byte steps, 32 at least.
    Glibc,
}

impl Allocator {
    /// Bytes that an allocation of `len` bytes takes.
    #[must_use]
    #[inline]
    pub fn usable(self, len: usize) -> usize {
        match self {
            Allocator::Jemalloc => jemalloc_class(len),
            Allocator::Glibc => ((len + 8 + 15) & !15).max(32),
        }
    }
}

/// jemalloc's size classes with its default quantum of 16 bytes (jemalloc(3), "size classes").
#[inline]
fn jemalloc_class(len: usize) -> usize {
    if len <= 8 {
        return 8;
    }
    if len <= 128 {
        return (len + 15) & !15;
    }
    // Four classes a doubling: the step is an eighth of the next power of two above.
    let step = (len - 1).next_power_of_two() >> 3;
    let step = if (len - 1).is_power_of_two() { step << 1 } else { step };
    len.div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jemalloc_classes_are_those_of_its_manual() {
        for (len, class) in [
            (1, 8),
            (9, 16),
            (17, 32),
            (112, 112),
            (113, 128),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (193, 224),
            (225, 256),
            (256, 256),
            (257, 320),
            (320, 320),
            (321, 384),
            (512, 512),
            (513, 640),
            (1024, 1024),
            (1025, 1280),
            (1281, 1536),
            (4097, 5120),
            (16384, 16384),
            (16385, 20480),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, 1_310_720),
        ] {
            assert_eq!(jemalloc_class(len), class, "len {len}");
        }
    }
}
