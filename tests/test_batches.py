"""Batches and the learning rate: functions of seed and step alone."""

from functools import partial

import numpy as np
import pytest
from conftest import dataset

from common.augment import augment
from common.errors import UserError
from experiment.backend.device import Device
from experiment.train.batches import Batches, Schedule

COUNT = 300


@pytest.fixture
def data():
    return dataset(COUNT)


def test_batches_depend_on_seed_and_epoch_alone(data):
    """Shuffling does, and so does the augmentation of images that are all the same."""
    alike = dataset(COUNT)
    alike.train_images[:] = data.train_images[0]
    for images, augmentation in ((data, None), (alike, partial(augment, shift=2))):

        def epoch(seed, number, images=images, augmentation=augmentation):
            batches = Batches(images, 64, seed, augmentation)
            batches.start_epoch(number)
            return np.concatenate([batches[i][0] for i in range(len(batches))])

        assert len(epoch(1, 0)) == COUNT
        assert (epoch(1, 2) == epoch(1, 2)).all()
        assert (epoch(1, 2) != epoch(1, 1)).any()
        assert (epoch(1, 2) != epoch(2, 2)).any()
        assert (epoch(1, 2)[:64] != epoch(1, 2)[64:128]).any()


def test_an_epoch_shows_every_image_once_with_its_label(data):
    data.train_images[:, 0, 0] = np.arange(COUNT) % 256
    batches = Batches(data, 50, 1)
    seen = [batches[number] for number in range(len(batches))]
    for images, labels in seen:
        brightest = images[:, 1:].astype(int).sum(axis=2).argmax(axis=1) + 1
        assert (brightest // 2 == labels).all()
    order = np.concatenate([images[:, 0, 0] for images, _ in seen])
    assert (np.sort(order) == np.sort(data.train_images[:, 0, 0])).all()
    assert (order != data.train_images[:, 0, 0]).any()


def test_the_whole_training_set_can_be_one_batch(data):
    batches = Batches(data, "all", 1)
    assert len(batches) == 1 and len(batches[0][0]) == COUNT


def test_dropout_is_drawn_anew_for_every_seed_epoch_and_batch(data):
    seeds = set()
    for seed in (1, 2):
        batches = Batches(data, 64, seed)
        for epoch in (0, 1):
            batches.start_epoch(epoch)
            seeds |= {batches.dropout_seed(number) for number in range(len(batches))}
    assert len(seeds) == 2 * 2 * 5


def test_cosine_rises_for_a_fifth_and_falls_to_zero():
    rates = np.array([Schedule("cosine", 0.4, 1000)(step) for step in range(1001)])
    assert rates[0] == pytest.approx(0.02)
    assert rates.argmax() == 200 and rates[200] == pytest.approx(0.4)
    assert rates[100] == pytest.approx((0.02 + 0.4) / 2)
    assert rates[600] == pytest.approx(0.2)
    assert rates[1000] == pytest.approx(0, abs=1e-9)
    assert (np.diff(rates[:201]) > 0).all() and (np.diff(rates[200:]) < 0).all()


def test_linear_rises_for_a_tenth_and_falls_to_zero():
    rates = np.array([Schedule("linear", 0.4, 1000)(step) for step in range(1001)])
    assert rates[[0, 100, 550, 1000]] == pytest.approx([0.02, 0.4, 0.2, 0])
    assert np.diff(rates, 2)[np.arange(999) != 99] == pytest.approx(0)


def parts_of(data, batch_size, processes):
    """What each process's Batches hold of one epoch, each process with two devices."""
    devices = {"backend": "jax", "count": 2 * processes, "processes": processes}
    return [
        Batches(data, batch_size, 1, None, Device("", "", process=process, **devices))
        for process in range(processes)
    ]


def test_the_parts_of_a_batch_are_the_batch():
    data = dataset(106)
    alone, parts = Batches(data, 20, 1), parts_of(data, 20, 2)
    assert [len(batches) for batches in (alone, *parts)] == [6, 6, 6]
    for number in range(6):
        for whole, *each in zip(alone[number], *(one[number] for one in parts), strict=True):
            # The last six images are two more than four devices can share evenly.
            assert np.array_equal(whole[: 4 if number == 5 else 20], np.concatenate(each))


def test_batches_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(UserError, match=r"4 devices cannot share 18 images evenly.* 16"):
        parts_of(dataset(40), 18, 2)
    with pytest.raises(UserError, match="4 devices cannot share all images evenly"):
        parts_of(dataset(3), "all", 2)
