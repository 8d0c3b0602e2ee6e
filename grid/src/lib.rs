//! Named caches and structures on the engine.
