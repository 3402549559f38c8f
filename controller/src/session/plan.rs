//! What an I/O command comes down to: its checks, in the order namespace, size, range, data (NVM Command Set 1.0 §3.2).
//!
//! Fused operations are refused (FUSES is 0); so is every command that is not in the Commands Supported and Effects log page.

use std::sync::Arc;

use nvmf_transport::{Gather, RequestData};
use nvmf_wire::{
    FabricsType, IoOpcode, Sqe, Status,
    fabrics::Disconnect,
    io::{DatasetManagement, DatasetRange, Rw},
    sqe::{Fuse, NSID_BROADCAST, Psdt},
};
use smallvec::SmallVec;
use zerocopy::FromBytes;

use super::{ops::Transfer, queue::IoQueue};
use crate::{
    backend::{BlockRange, Operation},
    namespace::Namespace,
};

/// What a command comes down to.
pub(super) enum Plan {
    /// An operation of one namespace, that moves this many bytes.
    Submit { namespace: Arc<Namespace>, operation: Operation, bytes: u32 },
    /// A write or compare whose data stay with the host.
    Transfer(Transfer),
    /// A Dataset Management command whose ranges stay with the host.
    Ranges { namespace: Arc<Namespace>, command: DatasetManagement },
    /// A flush of all namespaces.
    FlushAll,
    /// Nothing is left to do.
    Nothing,
    /// The queue ends.
    Disconnect,
}

/// Checks a command and says what is to be done; the status of the first thing wrong.
pub(super) fn plan(io: &IoQueue, sqe: &Sqe, data: RequestData) -> Result<Plan, Status> {
    if sqe.fuse() != Fuse::NORMAL || sqe.psdt() == Psdt::PRP {
        return Err(Status::INVALID_FIELD);
    }
    let fua = |rw: &Rw| rw.fua || io.association.write_through();
    match sqe.io_opcode() {
        IoOpcode::READ => {
            let (namespace, rw, bytes) = blocks(io, sqe)?;
            match data {
                RequestData::Remote { len } if len == bytes => {}
                // Data to be sent cannot go into the capsule they would have come from.
                RequestData::InCapsule(_) => return Err(Status::INVALID_FIELD),
                _ => return Err(Status::DATA_SGL_LENGTH_INVALID),
            }
            let operation = Operation::Read { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok(Plan::Submit { namespace: Arc::clone(namespace), operation, bytes })
        }
        opcode @ (IoOpcode::WRITE | IoOpcode::COMPARE) => {
            let (namespace, rw, bytes) = blocks(io, sqe)?;
            let compare = opcode == IoOpcode::COMPARE;
            if !compare {
                writable(namespace)?;
            }
            let (namespace, slba) = (Arc::clone(namespace), rw.slba);
            match data {
                RequestData::InCapsule(buffer) if buffer.len() == bytes as usize => {
                    let data = Gather::from(buffer);
                    let operation = if compare {
                        Operation::Compare { slba, data, fua: rw.fua }
                    } else {
                        Operation::Write { slba, data, fua: fua(&rw) }
                    };
                    Ok(Plan::Submit { namespace, operation, bytes })
                }
                RequestData::Remote { len } if len == bytes => Ok(Plan::Transfer(Transfer {
                    namespace,
                    slba,
                    total: bytes,
                    fua: if compare { rw.fua } else { fua(&rw) },
                    compare,
                    next: 0,
                    fetching: 0,
                    storing: 0,
                    waiting: false,
                    failed: None,
                })),
                _ => Err(Status::DATA_SGL_LENGTH_INVALID),
            }
        }
        IoOpcode::FLUSH => {
            no_data(&data)?;
            if sqe.nsid() == NSID_BROADCAST {
                return Ok(Plan::FlushAll);
            }
            let namespace = Arc::clone(namespace(io, sqe)?);
            Ok(Plan::Submit { namespace, operation: Operation::Flush, bytes: 0 })
        }
        IoOpcode::WRITE_ZEROES => {
            let (namespace, rw, _) = blocks(io, sqe)?;
            writable(namespace)?;
            no_data(&data)?;
            let operation = Operation::WriteZeroes {
                slba: rw.slba,
                blocks: rw.blocks,
                deallocate: rw.deallocate,
                fua: fua(&rw),
            };
            Ok(Plan::Submit { namespace: Arc::clone(namespace), operation, bytes: 0 })
        }
        IoOpcode::VERIFY => {
            let (namespace, rw, _) = blocks(io, sqe)?;
            no_data(&data)?;
            let operation = Operation::Verify { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok(Plan::Submit { namespace: Arc::clone(namespace), operation, bytes: 0 })
        }
        IoOpcode::DATASET_MANAGEMENT => {
            let namespace = namespace(io, sqe)?;
            let command = DatasetManagement::parse(sqe);
            // Linux's host describes room for the most ranges there may be, whatever NR says.
            if !(command.data_length()..=DatasetManagement::MAX_RANGES * DatasetRange::SIZE)
                .contains(&data.len())
            {
                return Err(Status::DATA_SGL_LENGTH_INVALID);
            }
            if !command.attributes.deallocate() {
                // The other attributes are hints (NVM Command Set 1.0 §3.2.3).
                return Ok(Plan::Nothing);
            }
            writable(namespace)?;
            let namespace = Arc::clone(namespace);
            match data {
                RequestData::InCapsule(buffer) => {
                    let list = buffer.get(..command.data_length()).ok_or(Status::DATA_SGL_LENGTH_INVALID)?;
                    let operation = deallocate(&namespace, list)?;
                    Ok(Plan::Submit { namespace, operation, bytes: 0 })
                }
                _ => Ok(Plan::Ranges { namespace, command }),
            }
        }
        IoOpcode::FABRICS => match sqe.fctype() {
            // spec: TCP-QUE-02
            Some(FabricsType::CONNECT) => Err(Status::COMMAND_SEQUENCE_ERROR),
            Some(FabricsType::DISCONNECT) if Disconnect::parse(sqe).recfmt != 0 => {
                Err(Status::CONNECT_INCOMPATIBLE_FORMAT)
            }
            Some(FabricsType::DISCONNECT) => Ok(Plan::Disconnect),
            _ => Err(Status::INVALID_OPCODE),
        },
        _ => Err(Status::INVALID_OPCODE),
    }
}

fn namespace<'a>(io: &'a IoQueue, sqe: &Sqe) -> Result<&'a Arc<Namespace>, Status> {
    io.namespaces.table.get(sqe.nsid()).ok_or(Status::INVALID_NAMESPACE_OR_FORMAT)
}

/// The namespace, the blocks and the bytes of a command that names blocks: no more than MDTS allows (WZSL and VSL are the
/// same, so that no command keeps this thread for long), and all of them exist.
fn blocks<'a>(io: &'a IoQueue, sqe: &Sqe) -> Result<(&'a Arc<Namespace>, Rw, u32), Status> {
    let namespace = namespace(io, sqe)?;
    let geometry = namespace.geometry();
    let rw = Rw::parse(sqe);
    // At most 2^16 blocks of 2^12 bytes.
    let bytes = rw.blocks << geometry.block_size.shift();
    if bytes > io.max_transfer {
        return Err(Status::INVALID_FIELD);
    }
    if !rw.is_within(geometry.blocks) {
        return Err(Status::LBA_OUT_OF_RANGE);
    }
    Ok((namespace, rw, bytes))
}

fn writable(namespace: &Namespace) -> Result<(), Status> {
    if namespace.geometry().read_only { Err(Status::NAMESPACE_WRITE_PROTECTED) } else { Ok(()) }
}

fn no_data(data: &RequestData) -> Result<(), Status> {
    if data.is_empty() { Ok(()) } else { Err(Status::DATA_SGL_LENGTH_INVALID) }
}

/// The operation that a list of ranges asks for.
pub(super) fn deallocate(namespace: &Namespace, list: &[u8]) -> Result<Operation, Status> {
    let ranges: SmallVec<[BlockRange; 1]> = list
        .chunks_exact(DatasetRange::SIZE)
        .filter_map(|bytes| DatasetRange::read_from_bytes(bytes).ok())
        .map(|range| BlockRange { slba: range.slba.get(), blocks: range.length.get().into() })
        .collect();
    let operation = Operation::Deallocate { ranges };
    operation.check(namespace.geometry())?;
    Ok(operation)
}

/// The operation of a read or verify that waited; the namespace may have changed meanwhile.
pub(super) fn restarted(io: &IoQueue, sqe: &Sqe) -> Result<(Arc<Namespace>, Operation, u32), Status> {
    match sqe.io_opcode() {
        IoOpcode::READ => {
            let (namespace, rw, bytes) = blocks(io, sqe)?;
            let operation = Operation::Read { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok((Arc::clone(namespace), operation, bytes))
        }
        _ => {
            let (namespace, rw, _) = blocks(io, sqe)?;
            let operation = Operation::Verify { slba: rw.slba, blocks: rw.blocks, fua: rw.fua };
            Ok((Arc::clone(namespace), operation, 0))
        }
    }
}
