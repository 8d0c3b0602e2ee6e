//! The simulator: `cargo run --release -p isogrid-tests --bin sim -- --seed S --count N`.

use isogrid_tests::sim::run;

pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (seed, count) = (number("--seed", 1), number("--count", 1));
    let (mut steps, mut simulated) = (0, 0);
    for seed in seed..seed + count {
        let report = run(seed);
        steps += report.steps;
        simulated += report.simulated_ms;
        if count <= 20 {
            println!("seed {seed}: {report:x?}");
        }
    }
    println!("{count} seeds, {} simulated hours, {steps} events: all good", simulated / 3_600_000);
}
