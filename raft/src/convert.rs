//! Between openraft's types and the wire's.

use crate::types::{Batch, Entry, LogId, StoredMembership, TypeConfig, Vote, decode_membership, encode_membership};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::vote::RaftVote;
use tonic::Status;
use vestibule_engine::GroupId;
use vestibule_proto::v1;

fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is missing"))
}

pub(crate) fn leader_out(leader: &LeaderId<u64, u64>) -> v1::Leader {
    v1::Leader { term: leader.term, node: leader.node_id }
}

fn leader_in(leader: Option<v1::Leader>) -> Result<LeaderId<u64, u64>, Status> {
    let leader = leader.ok_or_else(|| missing("a leader"))?;
    Ok(LeaderId { term: leader.term, node_id: leader.node })
}

pub(crate) fn log_id_out(id: &LogId) -> v1::LogId {
    v1::LogId { leader: Some(leader_out(&id.leader_id)), index: id.index }
}

pub(crate) fn log_id_in(id: v1::LogId) -> Result<LogId, Status> {
    Ok(openraft::LogId { leader_id: leader_in(id.leader)?, index: id.index })
}

fn option_in(id: Option<v1::LogId>) -> Result<Option<LogId>, Status> {
    id.map(log_id_in).transpose()
}

pub(crate) fn vote_out(vote: &Vote) -> v1::Vote {
    v1::Vote { leader: Some(leader_out(vote.leader_id())), committed: vote.is_committed() }
}

pub(crate) fn vote_in(vote: Option<v1::Vote>) -> Result<Vote, Status> {
    let vote = vote.ok_or_else(|| missing("a vote"))?;
    Ok(Vote::from_leader_id(leader_in(vote.leader)?, vote.committed))
}

fn entry_out(entry: &Entry) -> v1::Entry {
    let payload = match &entry.payload {
        openraft::EntryPayload::Blank => None,
        openraft::EntryPayload::Normal(batch) => Some(v1::entry::Payload::Batch(batch.bytes().clone())),
        openraft::EntryPayload::Membership(membership) => {
            Some(v1::entry::Payload::Membership(encode_membership(membership)))
        }
    };
    v1::Entry { id: Some(log_id_out(&entry.log_id)), payload }
}

fn entry_in(entry: v1::Entry) -> Result<Entry, Status> {
    let log_id = log_id_in(entry.id.ok_or_else(|| missing("an entry's id"))?)?;
    let payload = match entry.payload {
        None => openraft::EntryPayload::Blank,
        Some(v1::entry::Payload::Batch(bytes)) => openraft::EntryPayload::Normal(Batch::from_bytes(bytes)),
        Some(v1::entry::Payload::Membership(bytes)) => openraft::EntryPayload::Membership(
            decode_membership(&bytes).map_err(|error| Status::invalid_argument(error.to_string()))?,
        ),
    };
    Ok(openraft::Entry { log_id, payload })
}

pub(crate) fn append_out(group: GroupId, request: &AppendEntriesRequest<TypeConfig>) -> v1::AppendRequest {
    v1::AppendRequest {
        group: group.0,
        vote: Some(vote_out(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_out),
        entries: request.entries.iter().map(entry_out).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_out),
    }
}

pub(crate) fn append_in(request: v1::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    Ok(AppendEntriesRequest {
        vote: vote_in(request.vote)?,
        prev_log_id: option_in(request.previous)?,
        entries: request.entries.into_iter().map(entry_in).collect::<Result<_, _>>()?,
        leader_commit: option_in(request.leader_commit)?,
    })
}

pub(crate) fn append_result_out(result: &StreamAppendResult<TypeConfig>) -> v1::AppendResponse {
    use v1::append_response::Result as Wire;
    let result = match result {
        Ok(last) => Wire::Flushed(v1::Flushed { last: last.as_ref().map(log_id_out) }),
        Err(StreamAppendError::Conflict(at)) => Wire::Conflict(log_id_out(at)),
        Err(StreamAppendError::HigherVote(vote)) => Wire::HigherVote(vote_out(vote)),
    };
    v1::AppendResponse { result: Some(result) }
}

pub(crate) fn append_result_in(response: v1::AppendResponse) -> Result<StreamAppendResult<TypeConfig>, Status> {
    use v1::append_response::Result as Wire;
    Ok(match response.result.ok_or_else(|| missing("a result"))? {
        Wire::Flushed(flushed) => Ok(option_in(flushed.last)?),
        Wire::Conflict(at) => Err(StreamAppendError::Conflict(log_id_in(at)?)),
        Wire::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_in(Some(vote))?)),
    })
}

pub(crate) fn vote_request_out(group: GroupId, request: &VoteRequest<TypeConfig>) -> v1::VoteRequest {
    v1::VoteRequest {
        group: group.0,
        vote: Some(vote_out(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_in(request: v1::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    Ok(VoteRequest {
        vote: vote_in(request.vote)?,
        last_log_id: option_in(request.last)?,
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn vote_response_out(response: &VoteResponse<TypeConfig>) -> v1::VoteResponse {
    v1::VoteResponse {
        vote: Some(vote_out(&response.vote)),
        last: response.last_log_id.as_ref().map(log_id_out),
        granted: response.vote_granted,
    }
}

pub(crate) fn vote_response_in(response: v1::VoteResponse) -> Result<VoteResponse<TypeConfig>, Status> {
    Ok(VoteResponse {
        vote: vote_in(response.vote)?,
        last_log_id: option_in(response.last)?,
        vote_granted: response.granted,
    })
}

pub(crate) fn transfer_out(group: GroupId, request: &TransferLeaderRequest<TypeConfig>) -> v1::TransferLeaderRequest {
    v1::TransferLeaderRequest {
        group: group.0,
        from: Some(vote_out(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_out),
    }
}

pub(crate) fn transfer_in(request: v1::TransferLeaderRequest) -> Result<TransferLeaderRequest<TypeConfig>, Status> {
    Ok(TransferLeaderRequest::new(vote_in(request.from)?, request.to, option_in(request.last)?))
}

/// What a snapshot's header says of the membership, with where it was decided.
pub(crate) fn membership_out(membership: &StoredMembership) -> bytes::Bytes {
    vestibule_engine::codec::encode(membership).into()
}

pub(crate) fn membership_in(bytes: &[u8]) -> Result<StoredMembership, Status> {
    vestibule_engine::codec::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}
