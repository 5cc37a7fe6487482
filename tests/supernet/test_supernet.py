"""Weight sharing: a candidate is a slice of the SuperTransformer, in use, extracted or built alone."""

import copy
import random

import pytest
import torch

from hwnas.families import Vocabularies, get_family
from hwnas.spaces import load_space
from hwnas.supernet import SuperTransformer, set_dropout

SPACE = load_space("g2p")
FAMILY = get_family("seq2seq")
VOCABULARIES = Vocabularies(12, 10)
CANDIDATES = [SPACE.extreme(0), SPACE.extreme(-1), *(SPACE.sample(random.Random(seed)) for seed in range(5))]


@pytest.fixture(scope="module")
def supernet():
    torch.manual_seed(3)
    return SuperTransformer(FAMILY, SPACE, VOCABULARIES).eval()


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randint(3, 10, (4, tokens), generator=generator) for tokens in (6, 5))


def test_every_parameter_is_a_leading_slice_of_the_largest_models(supernet):
    shared = dict(supernet.largest.named_parameters())
    for candidate in CANDIDATES:
        with supernet.active(candidate) as model:
            for name, parameter in model.named_parameters():
                window = shared[name][tuple(slice(size) for size in parameter.shape)]
                assert torch.equal(parameter, window)
                assert parameter.data_ptr() == shared[name].data_ptr()


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.key)
@torch.no_grad()
def test_active_extracted_and_built_alone_give_the_same_outputs(supernet, batch, candidate):
    with supernet.active(candidate) as model:
        active = model(*batch)
    extracted = supernet.extract(candidate)
    torch.testing.assert_close(extracted(*batch), active, rtol=1e-4, atol=1e-5)
    alone = FAMILY.model(SPACE, candidate, VOCABULARIES).eval()
    state = supernet.largest.state_dict()
    alone.load_state_dict(
        {name: state[name][tuple(slice(size) for size in tensor.shape)] for name, tensor in alone.state_dict().items()}
    )
    assert torch.equal(alone(*batch), extracted(*batch))
    assert not extracted.training


@torch.no_grad()
def test_an_extracted_model_is_a_copy(batch):
    torch.manual_seed(0)
    supernet = SuperTransformer(FAMILY, SPACE, VOCABULARIES).eval()
    model = supernet.extract(CANDIDATES[2])
    before = model(*batch)
    for parameter in supernet.parameters():
        parameter.zero_()
    assert torch.equal(model(*batch), before)
    with supernet.active(CANDIDATES[2]) as active:
        assert not torch.equal(active(*batch), before)


def test_gradients_are_those_of_slicing_by_autograd(batch):
    """The hooks that hand gradients over against torch's own backward pass through slices."""
    torch.manual_seed(0)
    supernet = SuperTransformer(FAMILY, SPACE, VOCABULARIES).eval()
    for candidate in CANDIDATES[2:4]:  # on the same gradients: they add up
        with supernet.active(candidate) as model:
            model(*batch).square().mean().backward()
            assert all(parameter.grad is None for parameter in model.parameters())
    leaves = {name: p.detach().clone().requires_grad_() for name, p in supernet.largest.named_parameters()}
    for candidate in CANDIDATES[2:4]:
        plain = FAMILY.model(SPACE, candidate, VOCABULARIES).eval()
        slices = {name: leaves[name][tuple(slice(size) for size in p.shape)] for name, p in plain.named_parameters()}
        torch.func.functional_call(plain, slices, batch, tie_weights=True).square().mean().backward()
    for name, parameter in supernet.largest.named_parameters():
        wanted = leaves[name].grad
        if wanted is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-7)


def test_layers_a_candidate_lacks_get_no_gradient(batch):
    supernet = SuperTransformer(FAMILY, SPACE, VOCABULARIES)
    with supernet.active(SPACE.extreme(0)) as model:
        model(*batch).sum().backward()
    assert supernet.largest.decoder_ffn[0].expand.weight.grad is not None
    assert supernet.largest.decoder_ffn[1].expand.weight.grad is None
    gradient = supernet.largest.decoder_ffn[0].expand.weight.grad
    assert gradient.shape == (256, 96)
    assert gradient[64:].count_nonzero() == gradient[:, 32:].count_nonzero() == 0


@torch.no_grad()
def test_an_update_of_the_shared_weights_is_seen_by_kept_models(batch):
    supernet = SuperTransformer(FAMILY, SPACE, VOCABULARIES).eval()
    with supernet.active(CANDIDATES[2]) as model:
        before = model(*batch)
    supernet.largest.source_embedding.weight.mul_(0.5)
    with supernet.active(CANDIDATES[2]) as model:
        assert not torch.equal(model(*batch), before)


def test_nothing_stays_in_a_mode(batch):
    supernet = SuperTransformer(FAMILY, SPACE, VOCABULARIES).eval()
    state = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    for candidate in CANDIDATES:
        with supernet.active(candidate) as model:
            assert not model.training
            model(*batch)
    assert not supernet.training
    assert {name for name, _ in supernet.named_parameters()} == {
        f"largest.{name}" for name, _ in supernet.largest.named_parameters()
    }
    assert all(torch.equal(tensor, state[name]) for name, tensor in supernet.state_dict().items())
    supernet.train()
    with supernet.active(CANDIDATES[0]) as model:
        assert model.training


def test_more_candidates_than_are_kept(supernet, batch):
    with supernet.active(CANDIDATES[2]) as model:
        before = model(*batch)
    for seed in range(80):
        with supernet.active(SPACE.sample(random.Random(1000 + seed))):
            pass
    assert len(supernet._skeletons) <= 64
    with supernet.active(CANDIDATES[2]) as model:
        assert torch.equal(model(*batch), before)


def test_moving_and_copying_keep_the_sharing(batch):
    torch.manual_seed(0)
    supernet = SuperTransformer(FAMILY, SPACE, VOCABULARIES).eval()
    with supernet.active(CANDIDATES[2]) as model:
        model(*batch)
    twin = copy.deepcopy(supernet)
    with twin.active(CANDIDATES[2]) as model:
        model(*batch).sum().backward()
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert twin.largest.source_embedding.weight.grad is not None
    supernet.double()
    with supernet.active(CANDIDATES[2]) as model:
        assert model(*batch).dtype == torch.float64


def test_dropout_is_scaled_by_width_as_in_hat():
    supernet = SuperTransformer(FAMILY, SPACE, VOCABULARIES, dropout=0.3)
    with supernet.active(SPACE.extreme(0)) as model:
        assert model.decoder_ffn[0].residual.dropout.p == pytest.approx(0.3 * 32 / 96)
        assert model.source_embedding.dropout.p == pytest.approx(0.3 * 32 / 96)
    with supernet.active(SPACE.extreme(-1)) as model:
        assert model.decoder_ffn[0].residual.dropout.p == pytest.approx(0.3)


def test_dropout_drops_in_training_only(batch):
    torch.manual_seed(0)
    model = FAMILY.model(SPACE, SPACE.extreme(0), VOCABULARIES)
    set_dropout(model, 0.5)
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    assert torch.equal(model(*batch), model(*batch))


class _NotASlice:
    """A family whose small model is no slice of its large one."""

    def model(self, space, candidate, vocabularies):
        return torch.nn.Linear(3, 40 - candidate["encoder_embed"] // 4)


def test_a_family_that_breaks_the_rule_is_told_so():
    supernet = SuperTransformer(_NotASlice(), SPACE, VOCABULARIES)
    with (
        pytest.raises(ValueError, match=r"\(32, 3\) is no leading slice of \(16, 3\)"),
        supernet.active(SPACE.extreme(0)),
    ):
        pass
