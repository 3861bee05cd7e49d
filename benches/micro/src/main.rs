//! Nanoseconds of each operation; `bench.py` reads what criterion leaves in `CRITERION_HOME`.

#[path = "../../operations.rs"]
mod operations;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    for (name, make) in operations::all() {
        let mut operation = make();
        criterion.bench_function(name, |bencher| bencher.iter(&mut operation));
    }
    criterion.final_summary();
}
