//! One step of a connection: what rustls asks for, and what is wished of it, done with buffers that are somebody else's.

use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// What encryption adds to a record, at most.
const OVERHEAD: usize = 64;

/// What is to be done as soon as the connection can.
#[derive(Clone, Copy)]
pub(super) enum Wish<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    Goodbye,
}

pub(super) enum Step {
    Again,
    Idle,
    /// The wish was fulfilled.
    Done,
    /// The peer has said goodbye.
    Over,
}

/// Does what the connection asks for; how much of what came is done with.
pub(super) fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    wish: Wish<'_>,
    outgoing: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plain.extend_from_slice(record?.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(outgoing, OVERHEAD, |room| match data.encode(room) {
                Ok(count) => Ok(Ok(count)),
                Err(EncodeError::InsufficientSize(size)) => Ok(Err(size)),
                Err(error) => Err(Error::General(error.to_string())),
            })?;
            Ok(Step::Again)
        }
        // It goes out with what stands before it; nothing is asked for twice.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let size = match wish {
                Wish::Nothing => return Ok(Step::Idle),
                Wish::Encrypt(bytes) => bytes.len() + OVERHEAD,
                Wish::Goodbye => OVERHEAD,
            };
            append(outgoing, size, |room| {
                let written = match wish {
                    Wish::Encrypt(bytes) => traffic.encrypt(bytes, room),
                    Wish::Nothing | Wish::Goodbye => traffic.queue_close_notify(room),
                };
                match written {
                    Ok(count) => Ok(Ok(count)),
                    Err(EncryptError::InsufficientSize(size)) => Ok(Err(size)),
                    Err(error) => Err(Error::General(error.to_string())),
                }
            })?;
            Ok(Step::Done)
        }
        ConnectionState::PeerClosed => Ok(Step::Over),
        ConnectionState::Closed | ConnectionState::BlockedHandshake => Ok(Step::Idle),
        _ => Err(Error::General("a state that nobody asked for".into())),
    });
    (discard, step)
}

/// Writes behind what is there, with as much room as it turns out to need.
fn append(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, InsufficientSizeError>, Error>,
) -> Result<(), Error> {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(Ok(count)) => {
                out.truncate(start + count);
                return Ok(());
            }
            Ok(Err(InsufficientSizeError { required_size })) if required_size > room => room = required_size,
            Ok(Err(_)) => {
                out.truncate(start);
                return Err(Error::General("a record asks for less room than it needs".into()));
            }
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
    }
}
