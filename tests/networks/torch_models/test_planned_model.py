"""A planned model is its model: the same class, names and bits; and it refuses what its plan is not for."""

import copy
import pickle
import platform

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from networks.planning.own_models import BlockProfile
from networks.torch_models.blocks import blocks_of
from networks.torch_models.planned_model import fingerprint_of, planned


class Classifier(nn.Module):
    """A list of blocks in the middle of a forward pass, with dropout and batch-norm in them."""

    def __init__(self, depth=5, width=6, classes=3):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Dropout(0.2))
            for _ in range(depth)
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


X, Y = torch.randn(8, 6), torch.randint(0, 3, (8,))


def profiled(model, inputs=(X,), cut="layers"):
    """A profile whose bytes are made up, so a plan needs no measurement: outputs of 100 and tapes of 1,000 bytes."""
    found = blocks_of(model, inputs, cut)
    row = {
        "made_bytes": [100],
        "tape_bytes": 1000,
        "run_bytes": 120,
        "taped_run_bytes": 1100,
        "backward_bytes": 1300,
        "freed_backward_bytes": 1250,
        "gradient_bytes": 50,
        "delta_bytes": 100,
        "engine_bytes": 0,
        "graph_bytes": 0,
        "husk_bytes": 0,
        "forward_flops": 10,
        "seconds": 1e-3,
    }
    blocks = [{"name": name, **row, **_random_and_buffers(name)} for name in found.names]
    outside = ("before_bytes", "before_run_bytes", "before_backward_bytes", "loss_forward_bytes", "loss_backward_bytes")
    more = ("loss_bytes", "freed_loss_bytes", "engine_bytes", "parameters_bytes", "trained_bytes", "data_bytes")
    return BlockProfile.from_row(
        {
            **dict.fromkeys((*outside, *more), 0),
            "blocks": blocks,
            "loss_holds_output": False,
            "cut": cut,
            "inputs": found.inputs,
            "fingerprint": fingerprint_of(found),
            "threads": 1,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "notes": [],
        }
    )


def _random_and_buffers(name):
    number = name.split(".")[1]
    if name.endswith(".1"):
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        return {"random": False, "buffers": [f"layers.{number}.1.{each}" for each in statistics]}
    return {"random": name.endswith(".3"), "buffers": []}


def plan_for(model, share=0.4, **options):
    profile = profiled(model, **options)
    smallest = profile.plan(budget_bytes=10**9).smallest_budget_bytes
    plain = 1000 * len(profile.blocks)
    return profile.plan(budget_bytes=smallest + int(share * plain))


def trained(model, steps=3):
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    seen = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(X), Y)
        loss.backward()
        seen += [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
        optimiser.step()
    return [*seen, *model.buffers(), torch.get_rng_state()]


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.8])
def test_it_trains_as_its_model_does_to_the_bit(share):
    torch.manual_seed(0)
    model = Classifier()
    plan = plan_for(model, share)
    assert plan.work > 1
    expected = trained(copy.deepcopy(model))
    for one, other in zip(trained(planned(model, plan)), expected, strict=True):
        assert torch.equal(one, other)


def test_it_is_its_model_by_class_names_and_parameters():
    model = Classifier()
    under = planned(model, plan_for(model))
    assert isinstance(under, Classifier)
    assert list(under.state_dict()) == list(model.state_dict())
    assert all(one is other for one, other in zip(under.parameters(), model.parameters(), strict=True))
    assert [name for name, _ in under.named_modules()] == [name for name, _ in model.named_modules()]


def test_in_eval_mode_it_runs_plainly_on_inputs_of_any_shape():
    model = Classifier()
    under = planned(model, plan_for(model)).eval()
    x = torch.randn(3, 6)
    assert torch.equal(under(x), model.eval()(x))
    with torch.no_grad():
        assert under.train()(x).shape == (3, 3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_planned_too(copied):
    torch.manual_seed(0)
    model = Classifier()
    plan = plan_for(model)
    expected = trained(copy.deepcopy(model))
    under = copied(planned(model, plan))
    assert under.layers[0][0].weight is not model.layers[0][0].weight
    for one, other in zip(trained(under), expected, strict=True):
        assert torch.equal(one, other)


def test_a_plan_can_be_exchanged_for_another():
    model = Classifier()
    first = planned(model, plan_for(model, 0))
    second = planned(first, plan_for(model, 0.8))
    assert type(second) is type(first)
    assert torch.isfinite(second(X)).all()


def test_inputs_by_name_are_put_in_order():
    model = Classifier()
    assert planned(model, plan_for(model))(x=X).shape == (8, 3)


def under_autocast(model):
    with torch.autocast("cpu", torch.bfloat16):
        return model(X)


def test_a_step_under_autocast_is_refused_at_each_call():
    model = Classifier()
    under = planned(model, plan_for(model))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"without autocast, and this one is under autocast \(cpu torch.bfloat16\)"
        ):
            under_autocast(under)
        assert under(X).shape == (8, 3)
    assert under_autocast(under.eval()).shape == (8, 3)


def test_other_threads_than_in_the_profile_are_warned_of_once(recwarn):
    model = Classifier()
    profile = BlockProfile.from_row({**_row_of(profiled(model)), "threads": 3})
    under = planned(model, profile.plan(budget_bytes=10**9))
    with pytest.warns(UserWarning, match=r"3 of PyTorch's threads, and there are 1: .*torch.set_num_threads\(3\)"):
        under(X)
    under(X)
    assert not recwarn


def frozen_head(model):
    model.head.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model, plan: planned(model.layers[0][0].weight, plan), "must be a torch.nn.Module, got Parameter"),
        (
            lambda model, plan: planned(model, plan)(X[:5]),
            r"the plan is for inputs of \(8, 6\).*got \(5, 6\).*drop_last",
        ),
        (lambda model, plan: planned(model, plan)(X.double()), r"torch.float32.*got .*torch.float64"),
        (lambda model, plan: planned(model, plan)(X.clone().requires_grad_()), r"got .* requires_grad: "),
        (lambda model, plan: planned(Classifier(depth=6), plan)(X), "is for another model: its profile has 20 blocks"),
        (lambda model, plan: planned(Classifier(classes=5), plan)(X), "is for another model"),
        (lambda model, plan: planned(frozen_head(Classifier()), plan)(X), "is for another model"),
    ],
)
def test_what_the_plan_is_not_for_is_refused(make, message):
    model = Classifier()
    with pytest.raises(ValueError, match=message):
        make(model, plan_for(model))


def test_a_profile_of_other_versions_names_them_if_the_code_differs():
    model = Classifier()
    row = {**_row_of(profiled(model)), "fingerprint": "f00", "python": "3.99.1"}
    plan = BlockProfile.from_row(row).plan(budget_bytes=10**9)
    with pytest.raises(ValueError, match=r"another model.*with Python 3\.99\.1 and torch 2"):
        planned(model, plan)(X)


@pytest.mark.filterwarnings("default")  # PyTorch's compiler warns of itself
def test_a_model_that_was_also_compiled_is_the_same_model():
    model = Classifier()
    plan = plan_for(model)
    torch.compile(model)
    assert planned(model, plan)(X).shape == (8, 3)


def test_a_sharded_model_is_refused():
    class FSDPModule(Classifier):
        pass

    model = Classifier()
    with pytest.raises(ValueError, match="sharded by FSDP"):
        planned(FSDPModule(), plan_for(model))


def test_a_list_of_blocks_is_asked_for_again():
    layers = [nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)]
    model = nn.Sequential(*layers)
    found = blocks_of(model, X, layers)
    profile = profiled(Classifier())
    made_of_callables = BlockProfile.from_row(
        {**_row_of(profile), "cut": "callables", "fingerprint": fingerprint_of(found), "blocks": _blocks_of(profile, 3)}
    )
    plan = made_of_callables.plan(budget_bytes=10**9)
    with pytest.raises(ValueError, match="made of a list of callables"):
        planned(model, plan)
    assert planned(model, plan, layers)(X).shape == (8, 3)


def _row_of(profile):
    import json

    return json.loads(profile.to_json())


def _blocks_of(profile, number):
    return [{**row, "buffers": [], "random": False} for row in _row_of(profile)["blocks"][:number]]
