"""LAD-Dispatch, which scores servers request by request: what it sees, what it decides, and that it learns."""

import dataclasses
import pickle
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch

from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.episode_loss import EpisodeLoss
from lad_rllib.algorithms.lad_dispatch.features import (
    COLUMNS,
    FEATURES,
    LOGIT,
    NUM_FEATURES,
    OF_MODELS,
    SHARE,
    START,
)
from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.improvement import DOWN, decision_table, improvement_loss
from lad_rllib.algorithms.lad_dispatch.knowledge import LAGS, knowledge
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.algorithms.lad_dispatch.training import Improvement, learn, play_and_cost
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.order import make_order
from lad_rllib.simulator.requests import (
    LinearService,
    RequestServer,
    RequestWorld,
    build_request_setting,
    plain_requests,
)
from lad_rllib.simulator.requests.play import RequestSimulation, play_rule

SPEEDS = (1.0, 0.6, 0.25)


@dataclass(frozen=True)
class Traffic:
    """Poisson requests of two sizes on a few servers."""

    world: RequestWorld
    requests: int = 600
    load: float = 0.8

    def draw(self, rng):
        steps = rng.choice([5.0, 50.0], self.requests, p=[0.8, 0.2])
        rate = self.load * sum(SPEEDS) / (0.1 * 14.0)
        return plain_requests(np.cumsum(rng.exponential(1 / rate, self.requests)), steps)

    def of_episode(self, rng):
        return self

    def history(self):
        return self.draw(np.random.default_rng(99))


def traffic(order="fifo", speeds=SPEEDS, **fields):
    servers = [RequestServer(f"s{i}", {"": LinearService(per_step_s=0.1 / f)}) for i, f in enumerate(speeds)]
    return Traffic(RequestWorld(tuple(servers), make_order(order)), **fields)


def some_actor(settings=None, seed=1, scale=0.3):
    """An actor that has learned something."""
    actor = ScoringActor(settings or ActorSettings(), seed)
    with torch.no_grad():
        actor.weights.add_(scale * torch.randn(actor.weights.shape, generator=torch.Generator().manual_seed(seed)) / 6)
    return actor


def played(source, actor, temperature=1.0, seed=3):
    rule = actor.settings.rule(
        knowledge(source.world, source.history()), actor.packed(), temperature=temperature, recorded=True
    )
    rng = np.random.default_rng(seed)
    served = play_rule(rule, source.world, source.draw(rng), rng)
    return served, served.notes.reshape(len(served.notes), -1, COLUMNS)


@pytest.mark.parametrize("start", ["zero", "memory", "learned", "plain"])
def test_the_compiled_rule_scores_as_the_network_does(start):
    plain = start == "plain"
    settings = ActorSettings(latent_start="zero" if plain else start, policy_denoising_steps=0 if plain else 5)
    actor = some_actor(settings)
    _, notes = played(traffic("shortest_first"), actor)
    columns = torch.from_numpy(notes)
    with torch.no_grad():
        logits = actor(columns[..., :NUM_FEATURES], columns[..., SHARE], columns[..., START])
    assert logits.std(dim=1).min() > 0
    np.testing.assert_allclose(logits.numpy(), notes[..., LOGIT], rtol=2e-4, atol=2e-4)
    assert (notes[..., START] != 0).any() == (start == "memory")


def test_most_of_what_a_token_says_is_within_a_few_units():
    for order in ("fifo", "shortest_first"):
        tokens = played(traffic(order), some_actor())[1][..., :NUM_FEATURES]
        assert tokens.shape[2] == len(FEATURES)
        assert np.isfinite(tokens).all()
        assert np.quantile(np.abs(tokens), 0.99) < 4


def test_a_token_by_hand():
    source, actor = traffic("shortest_first"), ScoringActor(ActorSettings(), seed=0)
    history = source.history()
    known = knowledge(source.world, history)
    rule = actor.settings.rule(known, actor.packed(), recorded=True)
    simulation = RequestSimulation(source.world, plain_requests(np.zeros(3), [5.0, 50.0, 5.0]))
    for _ in range(2):
        simulation.look()
        simulation.send(2)  # at a quarter of the speed: 2 s, then 20 s
    notes = np.zeros(rule.notes, np.float32)
    rule.choose(simulation.look(), rule.numbers, rule.weights, np.zeros(rule.memory), notes, 0.0)
    seen = dict(zip(FEATURES, notes.reshape(-1, COLUMNS)[2], strict=False))
    mean_s = 0.1 * history.steps.mean() / np.array(SPEEDS)
    tau = 3 / (1 / mean_s).sum()
    expected = {
        "own delay: log, halved": 0.5 * np.log(4.0 / tau) - 1.0,
        "work left: log(1 + t / tau), halved": 0.5 * np.log1p(22.0 / tau) - 1.0,
        "work ahead under the order: log(1 + t / tau), halved": 0.5 * np.log1p(2.0 / tau) - 1.0,
        "delay added to those it overtakes: log(1 + t / tau), halved": 0.5 * np.log1p(2.0 / tau),
        "rank r: middle of the server's share of capacity, slow servers first": 3.5 * (0.25 / 1.85 / 2 - 0.5),
        "requests there: log(1 + n), halved": 0.5 * np.log(3.0) - 0.5,
        "share of those that it overtakes": 2.0 / 3.0,
    }
    np.testing.assert_allclose([seen[name] for name in expected], list(expected.values()), rtol=1e-5)


def test_a_token_says_how_popular_a_model_is_and_the_one_that_makes_room():
    mix = {"models": {"often": 3.0, "rare": 1.0}}
    spec = {
        "servers": [1.0, 1.0],
        "models_in_memory": 1,
        "swap_s": 5.0,
        "requests": 40,
        "traffic": {"load": 0.5, "mix": mix},
    }
    source, actor = build_request_setting(spec), ScoringActor(ActorSettings(), seed=0)
    known = knowledge(source.world, source.history())
    assert known.popularity[:2] == pytest.approx([0.75, 0.25], abs=0.02)
    rule = actor.settings.rule(known, actor.packed(), recorded=True)
    requests = plain_requests(np.arange(9) * 100.0, 5.0, model=np.array([0] + [1] * 8), models=("often", "rare"))
    simulation, memory = RequestSimulation(source.world, requests), np.zeros(rule.memory)
    rows = []
    for view in simulation:
        notes = np.zeros(rule.notes, np.float32)
        rule.choose(view, rule.numbers, rule.weights, memory, notes, 0.0)
        rows.append([dict(zip(FEATURES, one, strict=False)) for one in notes.reshape(-1, COLUMNS)])
        simulation.send(0)
    of_model = [name for name in FEATURES if name.startswith("image model: ")]
    of_other = [name for name in FEATURES if name.startswith("model that makes room: ")]

    def logs(*shares: float) -> list[float]:
        return [0.7 * np.log(2 * share + 0.05) for share in shares]

    begin = known.popularity[0]
    assert [rows[0][0][name] for name in of_model] == pytest.approx(logs(begin, begin), rel=1e-5)
    # "often" makes room for the first "rare" at the server that has it, nothing at the other one.
    share = [begin * kept + 1 - kept for kept in (1 - 1 / 40, 1 - 10 / 40)]
    assert [rows[1][0][name] for name in of_other] == pytest.approx(logs(*share), rel=1e-5)
    assert [rows[1][1][name] for name in of_other] == pytest.approx(logs(0.0, 0.0), rel=1e-5)
    recent, latest = ([row[0][name] for row in rows[1:]] for name in of_model)
    assert np.all(np.diff(recent) > 0) and np.all(np.diff(latest) > 0) and latest[-1] > recent[-1]


def test_where_servers_hold_every_model_nothing_is_learned_from_models():
    source = traffic("shortest_first")
    state = Improvement(LADDispatchHyperparameters(sampled_requests=200, updates_per_iteration=10), seed=0)
    rng = np.random.default_rng(1)
    told = knowledge(source.world, source.history())
    played = play_and_cost(source, told, state.settings, state.networks.packed(), rng, sampled=200)
    assert not played.table.tokens[..., -OF_MODELS:].any()
    state.step_on(played.table)
    before, after = (
        networks.weights.detach()[: NUM_FEATURES * 32].view(NUM_FEATURES, 32)
        for networks in (ScoringActor(state.settings, seed=0), state.networks)
    )
    assert torch.equal(before[-OF_MODELS:], after[-OF_MODELS:]) and not torch.equal(before, after)


def test_relabelling_servers_relabels_decisions():
    swapped = [2, 0, 1]
    settings = ActorSettings(latent_start="memory")
    first, notes = played(traffic("aged"), some_actor(settings), temperature=0.0)
    other, relabelled = played(
        traffic("aged", speeds=[SPEEDS[i] for i in swapped]), some_actor(settings), temperature=0.0
    )
    np.testing.assert_allclose(relabelled[..., LOGIT], notes[:, swapped, LOGIT], rtol=1e-3, atol=1e-3)
    assert np.mean(np.array(swapped)[other.server] == first.server) == 1.0


def test_the_first_policy_takes_the_server_of_least_expected_cost():
    source, actor = traffic("shortest_first"), ScoringActor(ActorSettings(), seed=0)
    served, notes = played(source, actor, temperature=0.0)
    assert (notes[..., 0].argmin(axis=1) == served.server).all()
    simulation = RequestSimulation(source.world, served.requests)
    view = simulation.look()  # nothing waits: own delay, and a price that is small beside it
    assert served.server[0] == view.service_s.argmin()


def test_a_server_that_is_down_gets_nothing_and_changes_no_logit_of_others():
    source, actor = traffic(), some_actor()
    rule = actor.settings.rule(
        knowledge(source.world, source.history()), actor.packed(), temperature=30.0, recorded=True
    )
    view = RequestSimulation(source.world, source.draw(np.random.default_rng(0))).look()
    view.up[1] = False

    def decide(uniform):
        notes = np.zeros(rule.notes, np.float32)
        server = rule.choose(view, rule.numbers, rule.weights, np.zeros(rule.memory), notes, uniform)
        return server, notes.reshape(-1, COLUMNS)

    assert {decide(uniform)[0] for uniform in np.linspace(0, 0.999, 50)} == {0, 2}
    before = decide(0.5)[1]
    view.service_s[1] *= 7.0
    view.work_left_s[1] += 99.0
    np.testing.assert_array_equal(decide(0.5)[1][[0, 2]], before[[0, 2]])
    table = decision_table(before.reshape(1, -1), np.ones((1, 3)))
    assert table.logits[0, 1] == DOWN
    assert table.advantage[0, 1] == 0.0


def test_parts_of_a_table_are_each_request_once_and_as_many_in_each():
    count = 7
    notes = np.random.default_rng(0).random((count, 3 * COLUMNS), np.float32)
    table = decision_table(notes, np.ones((count, 3)))
    parts = table.parts(3)
    assert sorted(map(len, parts)) == [2, 2, 3]
    assert sorted(np.concatenate([part.start for part in parts]).tolist()) == sorted(table.start.tolist())
    np.testing.assert_array_equal(parts[1].tokens, table.tokens[[1, 4]])
    assert all(part.tokens.flags.c_contiguous and part.tokens.dtype == np.float32 for part in parts)


def test_draws_follow_the_softmax_of_the_logits():
    source, actor = traffic(), some_actor()
    rule = actor.settings.rule(knowledge(source.world, source.history()), actor.packed(), 5.0, recorded=True)
    view = RequestSimulation(source.world, source.draw(np.random.default_rng(0))).look()
    notes = np.zeros(rule.notes, np.float32)
    servers = [
        rule.choose(view, rule.numbers, rule.weights, np.zeros(rule.memory), notes, uniform)
        for uniform in (np.arange(4000) + 0.5) / 4000
    ]
    logits = notes.reshape(-1, COLUMNS)[:, LOGIT] / 5.0
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(np.bincount(servers, minlength=3) / 4000, expected / expected.sum(), atol=1e-3)


def test_who_overtakes_whom_follows_from_the_order_of_service():
    def tables(order):
        source = traffic(order)
        known = knowledge(source.world, source.history())
        return known.behind.reshape(-1, LAGS), known.overtakers.reshape(-1, LAGS)

    behind, overtakers = tables("fifo")
    assert (behind == 1).all()
    assert (overtakers == 0).all()
    behind, overtakers = tables("shortest_first")
    assert (behind[0] == 1).all()  # nothing is shorter than the smallest
    work_of_small = 0.8 * 5 / 14
    np.testing.assert_allclose(overtakers[-1], work_of_small, atol=0.05)
    behind, overtakers = tables("aged:service_weight=10")
    assert all(before >= after for before, after in pairwise(overtakers[-1]))  # who comes much later does not
    assert overtakers[-1, 0] > 0 == overtakers[-1, -1]


def test_a_step_lowers_the_cross_entropy_to_the_improved_policy():
    source = traffic()
    state = Improvement(LADDispatchHyperparameters(sampled_requests=300, updates_per_iteration=30), seed=0)
    known = knowledge(source.world, source.history())
    rng = np.random.default_rng(0)
    table = play_and_cost(source, known, state.settings, state.networks.packed(), rng, sampled=300).table
    everything = {
        name: torch.from_numpy(getattr(table, name)) for name in ("tokens", "share", "start", "logits", "advantage")
    }

    def loss():
        return improvement_loss(state.networks, everything, state.schedule.step_size)[0].item()

    before, step_size = loss(), state.schedule.step_size
    assert state.step_on(table)["step_size"] == step_size
    state.schedule.iteration = 0
    assert loss() < before


def test_what_is_played_and_learned_can_be_sent_to_other_processes():
    source = traffic(requests=50)
    actor = ActorSettings()
    weights = ScoringActor(actor, 0).packed()
    arguments = source, knowledge(source.world, source.history()), actor, weights, np.random.default_rng(0)
    first = play_and_cost(*pickle.loads(pickle.dumps(arguments)), sampled=20)
    again = pickle.loads(pickle.dumps(play_and_cost(*arguments, sampled=20)))
    for field in dataclasses.fields(first.table):
        np.testing.assert_array_equal(getattr(first.table, field.name), getattr(again.table, field.name))


def short_training(**changes):
    """A few gradient steps of a small network, with a bound on a percentile."""
    small = {"hidden_size": 8, "sampled_requests": 100, "updates_per_iteration": 2, "bounded_percentile": 90.0}
    return LADDispatchHyperparameters(**small | changes)


def test_learning_goes_on_from_its_state_with_the_weight_of_the_bound_that_it_had():
    settings = short_training(step_size_iterations=4, percentile_bound_s=0.5)
    source = traffic(requests=200)
    whole, _ = learn(source, settings)
    state = Improvement(settings)
    learn(source, settings, on_iteration=lambda state, row: row["iteration"] == 2, state=state)
    assert state.loss.strength != 1.0
    again = Improvement(settings)
    again.set_state(state.get_state())
    assert again.loss.strength == state.loss.strength
    resumed, _ = learn(source, settings, state=again)
    np.testing.assert_array_equal(resumed.packed(), whole.packed())


def test_a_bound_may_be_a_share_of_what_least_work_left_has_on_the_same_requests():
    settings = LADDispatchHyperparameters(bounded_percentile=90.0, percentile_bound_ratio=0.8)
    loss, bounds_s = EpisodeLoss(settings), []
    for load in (0.5, 1.3):
        source = traffic(load=load).of_episode(np.random.default_rng(0))
        requests = source.draw(np.random.default_rng(1))
        play = player(make_scheduler("least-work-left", one_by_one=True), source.world, source.history())
        bounds_s.append(0.8 * np.percentile(play(requests, np.random.default_rng(2)).delay_s, 90))
        assert loss.bound_s(source, requests) == pytest.approx(bounds_s[-1])
        assert loss.penalty(bounds_s[-1])["threshold_s"] == bounds_s[-1]
    assert bounds_s[1] > 1.5 * bounds_s[0]
    fixed = EpisodeLoss(LADDispatchHyperparameters(bounded_percentile=90.0, percentile_bound_s=0.5))
    assert fixed.bound_s(source, requests) is None and fixed.penalty()["threshold_s"] == 0.5


@pytest.mark.parametrize(("ratio", "rises"), [(0.3, True), (3.0, False)])
def test_a_tight_share_of_least_work_left_raises_the_strength_and_a_loose_one_lowers_it(ratio, rises):
    settings = short_training(step_size_iterations=2, percentile_bound_ratio=ratio)
    _, curve = learn(traffic(requests=300, load=0.9), settings)
    strengths = [1.0, *(row["loss_strength"] for row in curve)]
    assert strengths == sorted(strengths, reverse=not rises) and len(set(strengths)) == 3


def test_it_learns_in_a_small_world_and_the_same_from_the_same_seed():
    source = traffic("fifo", requests=1500, load=1.2)
    settings = LADDispatchHyperparameters(
        hidden_size=16,
        step_size_iterations=12,
        sampled_requests=800,
        updates_per_iteration=40,
        train_batch_size_per_learner=128,
    )
    mean, curve = learn(source, settings, seed=1)

    def mean_delay(actor):
        return np.mean([played(source, actor, 0.0, seed)[0].delay_s.mean() for seed in range(100, 106)])

    assert mean_delay(mean) < 0.9 * mean_delay(ScoringActor(settings, 1))
    short = settings.model_copy(update={"step_size_iterations": 2})
    curves = [learn(source, short, seed=1)[1] for _ in range(2)]
    assert [row["mean_s"] for row in curves[0]] == [row["mean_s"] for row in curves[1]]
    assert curve[0]["mean_s"] == curves[0][0]["mean_s"]


@pytest.mark.parametrize("start", ["zero", "memory"])
def test_requests_decided_at_once_know_nothing_of_one_another(start):
    one_by_one = traffic()
    at_once = dataclasses.replace(one_by_one, world=dataclasses.replace(one_by_one.world, at_once=True))
    requests = plain_requests(np.repeat(np.arange(40.0), 5) * 20.0, np.full(200, 20.0))
    actor = some_actor(ActorSettings(latent_start=start))
    notes = {}
    for source in (one_by_one, at_once):
        rule = actor.settings.rule(knowledge(source.world, source.history()), actor.packed(), 1.0, recorded=True)
        served = play_rule(rule, source.world, requests, np.random.default_rng(0))
        notes[source.world.at_once] = served.notes.reshape(40, 5, len(SPEEDS), COLUMNS)
    same = np.abs(notes[True] - notes[True][:, :1]).max(axis=(1, 2, 3))
    assert (same == 0).all() and np.abs(notes[False] - notes[False][:, :1]).max() > 0.1
    shares = notes[True][:, 0, :, FEATURES.index("share of recent requests over share of capacity: log")]
    assert (np.abs(np.diff(shares, axis=0)).max(axis=1) > 0).all()  # of the instants before
