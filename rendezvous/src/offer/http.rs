//! The HTTP of an offer: GET and HEAD of a file.

use std::{
    io::Read,
    net::IpAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{Either, Full, channel::Channel};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use tokio::time::timeout;

use super::{Denial, Download, Offer};

/// How long a reader may take nothing.
const STALLS: Duration = Duration::from_secs(30);

/// What is read of a file at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Chunks that wait to be sent on one connection.
const CHUNKS: usize = 2;

/// What is answered over HTTP, here and elsewhere at these ports.
pub(crate) type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// Answers a request with a file of the offer, or says why there is none.
pub(crate) fn answer(request: &Request<Incoming>, from: IpAddr, offer: &Offer) -> Response<Body> {
    let is_get = request.method() == Method::GET;
    if !is_get && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "this port is read-only\n");
    }
    match offer.download(Instant::now(), from, request.uri().path()) {
        Ok(download) => file(download, is_get),
        Err(Denial::NotFound) => plain(
            StatusCode::NOT_FOUND,
            "p2pdbg-rendezvous: not offered here\n",
        ),
        Err(Denial::TooMany) => plain(
            StatusCode::TOO_MANY_REQUESTS,
            "p2pdbg-rendezvous: too many downloads from your address; try again in a minute\n",
        ),
        Err(Denial::Busy) => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "p2pdbg-rendezvous: too many downloads at once; try again in a minute\n",
        ),
    }
}

/// An answer of one line of text.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Either::Left(Full::from(text)));
    *answer.status_mut() = status;
    answer
}

fn file(download: Download, with_body: bool) -> Response<Body> {
    let length = download.length;
    let body = match with_body {
        true => Either::Right(read(download)),
        false => Either::Left(Full::default()),
    };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    answer
}

/// Reads the file as fast as it is taken; the disk may block, so that happens on a thread of its own.
fn read(mut download: Download) -> Channel<Bytes> {
    let (mut sender, body) = Channel::new(CHUNKS);
    tokio::spawn(async move {
        let mut left = download.length;
        while left > 0 {
            let reading = tokio::task::spawn_blocking(move || {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = (&mut download.file).take(CHUNK as u64);
                let mut read = read.take(left);
                let result = read.read_to_end(&mut chunk);
                (download, result.map(|_| chunk))
            });
            // A file that has become shorter ends the connection before its announced length.
            let Ok((back, Ok(chunk))) = reading.await else {
                return;
            };
            if chunk.is_empty() {
                return;
            }
            download = back;
            left -= chunk.len() as u64;
            let sending = timeout(STALLS, sender.send_data(Bytes::from(chunk)));
            let sent = tokio::select! {
                sent = sending => sent,
                () = download.slot.crowded_out() => return,
            };
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
            download.slot.moved(Instant::now());
        }
    });
    body
}
