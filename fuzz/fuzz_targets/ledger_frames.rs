//! Any bytes as a frame and as a carrier's header: what is accepted is exactly what would be sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pdbg_ledger::{CarrierHeader, Frame, FrameError, frame};

fuzz_target!(|data: &[u8]| {
    match Frame::decode(data) {
        Ok(frame) => {
            let mut again = Vec::new();
            frame.encode(&mut again);
            assert_eq!(again, data);
            assert!(data.len() <= frame::MAX_FRAME_LEN && Frame::is_type(data[0]));
            if let Some(reply) = frame.reply_if_closed() {
                assert_eq!(reply.stream(), frame.stream());
                assert_eq!(
                    reply.reply_if_closed(),
                    None,
                    "answers must not be answered"
                );
            }
        }
        Err(FrameError::UnknownType(kind)) => assert_eq!(data.first(), Some(&kind)),
        Err(_) => {}
    }
    if let Some(bytes) = data.first_chunk()
        && let Ok(header) = CarrierHeader::decode(bytes)
    {
        assert_eq!(&header.encode(), bytes);
    }
});
