//! What the relay's table costs: where a datagram goes, with few sessions and with many, and the binding of a leg.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use p2pdbg_rendezvous::FilledTable;

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("where a datagram goes");
    for count in [1, 1_000, 10_000] {
        let mut table = FilledTable::with_sessions(count);
        let mut next = 0;
        group.bench_function(BenchmarkId::new("sessions", count), |bencher| {
            bencher.iter(|| {
                next = (next + 7) % (count * 2);
                assert!(table.forwards(black_box(next)));
            });
        });
    }
    for count in [1, 1_000, 10_000] {
        let table = FilledTable::with_sessions(count);
        let mut next = 0;
        group.bench_function(
            BenchmarkId::new("sessions, by a worker", count),
            |bencher| {
                bencher.iter(|| {
                    next = (next + 7) % (count * 2);
                    assert!(table.finds(black_box(next)));
                });
            },
        );
    }
    let mut table = FilledTable::with_sessions(1_000);
    group.bench_function("a stranger", |bencher| {
        bencher.iter(|| assert!(!table.forwards(black_box(1 << 20))));
    });
    group.finish();
}

fn bind(criterion: &mut Criterion) {
    let mut table = FilledTable::with_sessions(1_000);
    criterion.bench_function("a leg is bound", |bencher| {
        bencher.iter(|| assert!(table.binds()));
    });
}

criterion_group!(benches, forward, bind);
criterion_main!(benches);
