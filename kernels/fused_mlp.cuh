// Fused training of MLPs with one hidden layer: a team of blocks trains an epoch of a trial, its weights in shared
// memory from the first step to the last (fused.cuh is the protocol with the host, team.cuh how blocks of a team
// meet, mlp_shape.cuh what a block keeps, mlp_layer.cuh the first layer, mlp_head.cuh the rest, mlp_trial.cuh the
// steps of an epoch).
//
// A block has 16, 32 or 64 hidden units: their weights to all pixels, and their rows of the second layer. All of a
// team go through the same samples; what they exchange is the logits that their units add up to, 3 KB a chunk of 64
// samples. The softmax is every block's own, the same to the last bit.
//
// The cost model, for 784 inputs, 10 classes, 64 samples a step, and 64 units a block (H = 128: a team of two) on a
// Hopper GPU (132 multiprocessors, 1.75 GHz); cycles of a block and step:
//
//   where the weights live     784 x 64 x 4 = 201 KB, of 227 KB. From the second-level cache instead they would be
//                              read twice and written once a step: 602 KB at about 24 bytes a cycle, 25,000 cycles.
//   FP32 on ordinary cores     6.4 million multiply-adds at 128 a cycle: 50,000, 65,000 at what loops reach
//   3xTF32, of which two do    12.8 million at a quarter of the bf16 rate: 20,000 by mma.sync
//   bf16 in three parts        19.3 million, 9,408 mma.sync, at 62 % of 2,048 a cycle: 15,000. Taken: bf16x3.cuh
//   instructions beside them   245 + 235 a warp and block of 16 pixels (counted in SASS, sm_90): 11,800 of 4 a cycle
//   head                       about 3,000, the tensor cores resting
//   meeting, barriers, begin   39 barriers, a round through the second-level cache, two reads of pixels from afar
//                              that nothing hides: about 3,000
//
// So 20,000 to 21,000 cycles a step, 12 microseconds. A trial-epoch of 60,000 samples with 10,000 to validate on is
// 938 steps and 157 chunks forward alone: 20.5 million cycles, 11.7 ms, on 66 teams 5,600 trial-epochs/s predicted
// for an H100 or H200 (both have 132 multiprocessors). With momentum the velocities take as much room again: 32
// units a block, teams of four, about 15,000 cycles a step, 3,700 trial-epochs/s. Two blocks of 64 units and
// velocities read from the second-level cache would be 201 KB more each way in the backward pass, 17,000 cycles: no
// better. A batch of 16 takes about 9,000 cycles a step: splitting and updating weights is most of it.
//
// Layer by layer the same step, one trial's share of a full GPU, is 12.8 million multiply-adds and at least five
// times its 401 KB through device memory: 1.2 microseconds and 9 launches' share, against 12 / 66 = 0.18 here. So
// whatever fits is fused (src/engine/cuda/fused/variant.rs); only a large batch alone on a GPU would gain by the
// other path.
//
// What fits 784 inputs, units a block x blocks of the largest team of 16:
//
//   sm_90, 100 (227 KB)   64 x 16 = 1,024; with momentum 32 x 16 = 512
//   sm_80 (163 KB)        32 x 16 =   512; with momentum 16 x 16 = 256
//   sm_86, 89, 120 (99 KB) 16 x 16 =  256; with momentum none
//   sm_75                 none: it has no bf16
//
// Counted on the simulated device, a block and step (PTX: its moves, a third of the instructions, vanish in SASS):
//
//                                    64 units       64 units       32 units, momentum
//                                    64 samples     16 samples     64 samples
//   warp instructions                93,900         54,000         68,200
//   multiply-adds on tensor cores    19.27 million  4.82 million   9.63 million
//   multiply-adds beside             259,000        141,000        183,000
//   shared transactions, conflicts   15,900, 3 %    7,760, 3 %     12,200, 2 %
//   global sectors                   4,590          1,180          4,980
//   barriers                         39             39             39
//
// Each 16-byte read counts as four transactions here, also where lanes read the same: shared memory is the next
// bound, not far off. Not measured: no GPU was at hand.
//
// Next, by what it should gain: fp16 in two parts with scales that follow the weights (a third of the matrix
// instructions and half of the splitting); the update of a step and the forward product of the next in one pass, so
// that weights are read once; the head under the last stages of a pass; wgmma, which takes the weights from
// registers as they lie here, once issue slots are no longer the bound; the exchange by a cluster's shared memory.
#pragma once

#include "fused_layout.cuh"
#include "mlp_trial.cuh"

template <class M> __device__ inline void fused_mlp(const FusedLaunch &launch, const MlpTeams &teams)
{
    extern __shared__ float4 shared[];
    MlpMemory<M> &memory = *(MlpMemory<M> *)shared;
    Team team(teams.arrived, teams.size);
    MlpTrial<M> trial(launch, teams, memory, team);
    unsigned int *const taken = teams.trials + blockIdx.x / teams.size;
    unsigned int spent = 0;
    for (;;) {
        if (team.rank == 0 && threadIdx.x == 0) {
            FusedCall call;
            const bool called = spent < launch.budget && fused_take(launch, call);
            if (called) fused_open(launch.plans[call.trial], call, launch.clocks[call.trial]);
            *taken = called ? call.trial : MLP_NO_TRIAL;
        }
        team.meet(false, &memory.word);
        const unsigned int next = __ldcg(taken);
        if (next == MLP_NO_TRIAL) return;
        trial.run(next, spent);
    }
}

// How the struct lies in memory, to be compared with the host's; and below, of a shape, what the host must know:
// threads, bytes of shared memory beside weights and velocities, bytes of the small velocities, bytes of deltas.
extern "C" __device__ const unsigned int MlpTeams_layout[] = {
    sizeof(MlpTeams), offsetof(MlpTeams, arrived), offsetof(MlpTeams, trials), offsetof(MlpTeams, parts),
    offsetof(MlpTeams, size), offsetof(MlpTeams, pad)};

#define KERNEL(UNITS, SAMPLES)                                                                             \
    extern "C" __global__ void __launch_bounds__(MlpShape<UNITS, SAMPLES>::THREADS, 1)                     \
    fused_mlp_##UNITS##x##SAMPLES(const __grid_constant__ FusedLaunch launch,                              \
                                  const __grid_constant__ MlpTeams teams)                                  \
    {                                                                                                      \
        fused_mlp<MlpShape<UNITS, SAMPLES>>(launch, teams);                                                \
    }                                                                                                      \
    extern "C" __device__ const unsigned int MlpShape_##UNITS##x##SAMPLES[] = {                            \
        MlpShape<UNITS, SAMPLES>::THREADS, sizeof(MlpMemory<MlpShape<UNITS, SAMPLES>>),                    \
        sizeof(MlpVelocities<MlpShape<UNITS, SAMPLES>>),                                                   \
        sizeof(float) * UNITS * SAMPLES};
