//! What the ledger costs: chunks from one local socket to the other, everything between left out.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use p2pdbg_ledger::{Budget, CarrierId, Frame, Limits, Receiver, Sender, Side, StreamId};

const CARRIER: CarrierId = CarrierId(0);

/// Both ends of one direction, joined by a carrier.
struct Ends {
    sender: Sender,
    receiver: Receiver,
}

impl Ends {
    fn new() -> Self {
        let stream = StreamId::new(Side::Connector, 0);
        let mut sender = Sender::new(stream, 0, Limits::default(), &Budget::default());
        let mut receiver = Receiver::new(stream, 0);
        let header = sender.attach(CARRIER);
        receiver.open(CARRIER, &header).expect("a first carrier");
        Self { sender, receiver }
    }

    /// Passes one chunk through; acknowledgements go back when they are due.
    fn pass(&mut self, chunk: &Bytes) {
        assert!(self.sender.capacity() >= chunk.len());
        self.sender.push(chunk.clone()).expect("there is room");
        let transmit = self.sender.poll_transmit().expect("a chunk was pushed");
        self.sender
            .transmitted(transmit.carrier, transmit.data.len());
        let new = self.receiver.handle_data(CARRIER, transmit.data);
        let new = black_box(new.expect("in order").expect("new"));
        self.receiver.consumed(new.len());
        if let Some(Frame::Ack(ack)) = self.receiver.poll_frame(false) {
            self.sender.handle_ack(ack).expect("an honest ack");
        }
    }
}

fn pass_chunks(criterion: &mut Criterion) {
    for (name, len) in [("16 KiB chunk", 16 << 10), ("200 B message", 200)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(len));
        let chunk = Bytes::from(vec![0x5a; len as usize]);
        let mut ends = Ends::new();
        group.bench_function("push, transmit, receive, acknowledge", |bencher| {
            bencher.iter(|| ends.pass(&chunk));
        });
        group.finish();
    }
}

/// Going back over a full retention, which is what the loss of a tunnel costs.
fn go_back(criterion: &mut Criterion) {
    let chunk = Bytes::from(vec![0x5a; 16 << 10]);
    criterion.bench_function("go back over 4 MiB in 16 KiB chunks", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut ends = Ends::new();
                while ends.sender.capacity() >= chunk.len() {
                    ends.sender.push(chunk.clone()).expect("there is room");
                    let transmit = ends.sender.poll_transmit().expect("a chunk was pushed");
                    ends.sender.transmitted(CARRIER, transmit.data.len());
                }
                ends
            },
            |ends| {
                ends.sender.carrier_lost(CARRIER);
                black_box(ends.sender.attach(CarrierId(1)));
            },
            BatchSize::SmallInput,
        );
    });
}

/// An acknowledgement on the control stream.
fn frames(criterion: &mut Criterion) {
    let mut ends = Ends::new();
    let chunk = Bytes::from(vec![0x5a; 64 << 10]);
    ends.sender.push(chunk).expect("there is room");
    let transmit = ends.sender.poll_transmit().expect("a chunk was pushed");
    ends.sender
        .transmitted(transmit.carrier, transmit.data.len());
    let new = ends.receiver.handle_data(CARRIER, transmit.data);
    ends.receiver
        .consumed(new.expect("in order").expect("new").len());
    let ack = ends.receiver.poll_frame(true).expect("an ack is due");
    let mut bytes = Vec::new();
    criterion.bench_function("an acknowledgement is written and read", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            ack.encode(&mut bytes);
            black_box(Frame::decode(black_box(&bytes)).expect("a frame"))
        });
    });
}

criterion_group!(benches, pass_chunks, go_back, frames);
criterion_main!(benches);
