//! What the STUN codec costs: a check between peers, made and judged, and a server's question and answer.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use p2pdbg_stun::{Attribute, Class, Encoder, Integrity, Message, TransactionId};

const KEY: [u8; 32] = [7; 32];

fn check(buffer: &mut [u8]) -> &[u8] {
    let encoder = Encoder::new(buffer, Class::Request, TransactionId([9; 12])).expect("room");
    encoder.finish_with_integrity(&KEY, 16).expect("room")
}

fn answer(buffer: &mut [u8]) -> &[u8] {
    let mut encoder = Encoder::new(buffer, Class::Success, TransactionId([9; 12])).expect("room");
    let mapped = "192.0.2.1:4711".parse().expect("an address");
    encoder
        .push(Attribute::XorMappedAddress(mapped))
        .expect("room");
    encoder.finish_with_fingerprint().expect("room")
}

fn stun(criterion: &mut Criterion) {
    let mut buffer = [0; 128];
    criterion.bench_function("a check is made", |bencher| {
        bencher.iter(|| black_box(check(&mut buffer).len()));
    });
    let sent = check(&mut buffer).to_vec();
    criterion.bench_function("a check is judged", |bencher| {
        bencher.iter(|| {
            let message = Message::decode(black_box(&sent)).expect("a message");
            assert_eq!(message.integrity(&KEY), Integrity::Valid);
            black_box(message.fingerprint())
        });
    });
    criterion.bench_function("a server answers", |bencher| {
        bencher.iter(|| black_box(answer(&mut buffer).len()));
    });
    let sent = answer(&mut buffer).to_vec();
    criterion.bench_function("an answer is read", |bencher| {
        bencher.iter(|| {
            let message = Message::decode(black_box(&sent)).expect("a message");
            black_box(message.mapped_address())
        });
    });
}

criterion_group!(benches, stun);
criterion_main!(benches);
