// How the structs of fused.cuh lie in memory, to be compared with the host's: for one of the files that
// have fused kernels.
#pragma once

#include "fused.cuh"
#include "layout.cuh"

extern "C" __device__ const unsigned int FusedLayer_layout[] = {
    sizeof(FusedLayer), offsetof(FusedLayer, weight), offsetof(FusedLayer, bias),
    offsetof(FusedLayer, weight_velocity), offsetof(FusedLayer, bias_velocity),
    offsetof(FusedLayer, inputs), offsetof(FusedLayer, outputs),
    offsetof(FusedLayer, stride), offsetof(FusedLayer, pad)};
extern "C" __device__ const unsigned int FusedPlan_layout[] = {
    sizeof(FusedPlan), offsetof(FusedPlan, seed), offsetof(FusedPlan, layers),
    offsetof(FusedPlan, scratch), offsetof(FusedPlan, trial), offsetof(FusedPlan, batch),
    offsetof(FusedPlan, shuffled), offsetof(FusedPlan, shuffle_trial),
    offsetof(FusedPlan, nesterov), offsetof(FusedPlan, momentum),
    offsetof(FusedPlan, weight_decay), offsetof(FusedPlan, smoothing),
    offsetof(FusedPlan, activation), offsetof(FusedPlan, dropout),
    offsetof(FusedPlan, pad)};
extern "C" __device__ const unsigned int FusedClock_layout[] = {
    sizeof(FusedClock), offsetof(FusedClock, before), offsetof(FusedClock, phase),
    offsetof(FusedClock, first), offsetof(FusedClock, finished),
    offsetof(FusedClock, learning_rate), offsetof(FusedClock, keys),
    offsetof(FusedClock, train_loss), offsetof(FusedClock, validation_loss),
    offsetof(FusedClock, wrong)};
extern "C" __device__ const unsigned int FusedCall_layout[] = {
    sizeof(FusedCall), offsetof(FusedCall, trial), offsetof(FusedCall, epoch),
    offsetof(FusedCall, learning_rate), offsetof(FusedCall, pad)};
extern "C" __device__ const unsigned int FusedDesk_layout[] = {
    sizeof(FusedDesk), offsetof(FusedDesk, called), offsetof(FusedDesk, stop)};
extern "C" __device__ const unsigned int FusedReport_layout[] = {
    sizeof(FusedReport), offsetof(FusedReport, train_loss),
    offsetof(FusedReport, validation_loss), offsetof(FusedReport, wrong),
    offsetof(FusedReport, epoch)};
extern "C" __device__ const unsigned int FusedLaunch_layout[] = {
    sizeof(FusedLaunch), offsetof(FusedLaunch, plans), offsetof(FusedLaunch, clocks),
    offsetof(FusedLaunch, data), offsetof(FusedLaunch, calls), offsetof(FusedLaunch, desk),
    offsetof(FusedLaunch, reports), offsetof(FusedLaunch, taken),
    offsetof(FusedLaunch, capacity), offsetof(FusedLaunch, budget),
    offsetof(FusedLaunch, patience), offsetof(FusedLaunch, pad)};
