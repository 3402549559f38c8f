//! Admin commands that are answered from what the controller knows: Identify, Get Log Page, Get and Set Features, and the
//! Fabrics property commands.
//!
//! Functions of an [`Association`] and a command; nothing here waits or holds a request. What an asynchronous event, an abort
//! or a timer needs is the session's. Responses are built in pages of a bounded pool, so their size never follows a number
//! of the host further than MDTS.

mod features;
mod identify;
mod log_page;
pub(crate) mod property;

pub(crate) use identify::{ABORT_LIMIT, EVENT_LIMIT};

use std::{sync::Arc, time::Duration};

use nvmf_transport::{Gather, Pool, RequestData, View};
use nvmf_wire::{AdminOpcode, Sqe, Status};

use crate::{association::Association, directory::Directory, server::Shared, subsystem::PAGE};

/// What a command is run with.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) association: &'a Association,
    pub(crate) pages: Pages<'a>,
    /// The directory whose header the host read last.
    pub(crate) directory: &'a mut Option<Arc<Directory>>,
    /// Since the server started.
    pub(crate) uptime: Duration,
}

/// A command that succeeded.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) result: u64,
    pub(crate) data: Gather,
    pub(crate) after: After,
}

impl From<Gather> for Done {
    fn from(data: Gather) -> Self {
        Self { data, ..Self::default() }
    }
}

/// What the session has to do after a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum After {
    #[default]
    Nothing,
    /// The keep alive timeout changed.
    Rearm,
    /// There may be an event to report.
    Report,
}

/// Why a command did not succeed, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It failed.
    Status(Status),
    /// All pages are with the transport: run it again later.
    NoMemory,
    /// It has this much data that has not been fetched: run it again with them.
    NeedData(u32),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status.with_dnr())
    }
}

/// Runs a command. `input` is its data once they have been fetched.
pub(crate) fn run(
    context: &mut Context<'_>,
    sqe: &Sqe,
    data: &RequestData,
    input: Option<&[u8]>,
) -> Result<Done, Failure> {
    match sqe.admin_opcode() {
        AdminOpcode::IDENTIFY => identify::run(context, sqe, data),
        AdminOpcode::GET_LOG_PAGE => log_page::run(context, sqe, data),
        AdminOpcode::GET_FEATURES => features::get(context, sqe, data),
        AdminOpcode::SET_FEATURES => features::set(context, sqe, data, input),
        _ => Err(Status::INVALID_OPCODE.into()),
    }
}

/// Checks the room for the data of a response: exactly as much as the command returns (SGLS bit 18 is 0).
fn room(data: &RequestData, length: u32) -> Result<(), Status> {
    match data {
        RequestData::Remote { len } if *len == length => Ok(()),
        RequestData::InCapsule(_) => Err(Status::INVALID_FIELD),
        _ => Err(Status::DATA_SGL_LENGTH_INVALID),
    }
}

/// Checks that a command describes no data.
fn no_data(data: &RequestData) -> Result<(), Status> {
    if data.is_empty() { Ok(()) } else { Err(Status::DATA_SGL_LENGTH_INVALID) }
}

/// Memory for the data of responses.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) zeroes: &'a View,
}

impl Pages<'_> {
    /// `length` bytes of a page of `total` bytes, from `offset` on, written by `render`; zeroes behind its end.
    fn render(
        &self,
        total: u64,
        offset: u64,
        length: u32,
        mut render: impl FnMut(u64, &mut [u8]),
    ) -> Result<Gather, Failure> {
        let mut gather = Gather::new();
        let mut left = total.saturating_sub(offset).min(length.into()) as usize;
        let mut at = offset;
        while left > 0 {
            let mut page = self.pool.take().ok_or(Failure::NoMemory)?;
            page.truncate(left.min(PAGE as usize));
            render(at, &mut page);
            (at, left) = (at + page.len() as u64, left - page.len());
            gather.push(page.freeze());
        }
        let mut rest = (length as usize).saturating_sub(gather.len());
        while rest > 0 && !self.zeroes.is_empty() {
            let piece = rest.min(self.zeroes.len());
            gather.push(self.zeroes.slice(0..piece));
            rest -= piece;
        }
        Ok(gather)
    }

    /// `length` bytes of `bytes`, from `offset` on; zeroes behind their end.
    fn copy(&self, bytes: &[u8], offset: u64, length: u32) -> Result<Gather, Failure> {
        self.render(bytes.len() as u64, offset, length, |at, out| {
            let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            out.fill(0);
            out.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        })
    }
}
